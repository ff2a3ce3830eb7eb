"""The contract of ``IDocker`` for images."""

from __future__ import annotations

from criwist import errors
from criwist.docker.error_responses import is_image_in_use
from tests.doubles.contract_situation import Feed, Scenarios, Situation, scenario


class ImageScenarios(Scenarios):
    """The names of images, and their events."""

    @scenario
    async def test_images_are_tagged_and_untagged(self, situation: Situation) -> None:
        """Inspect and list return a second tag; removing it leaves the image with its first."""
        docker = situation.docker
        await docker.tag_image(situation.image, repository="criwist.test/second", tag="2")
        document = await docker.inspect_image("criwist.test/second:2")
        self.assertEqual(set(document["RepoTags"]), {situation.image, "criwist.test/second:2"})
        listed = await docker.images({"reference": ["criwist.test/second:2"]})
        self.assertEqual([item["Id"] for item in listed], [document["Id"]])
        self.assertTrue(await docker.image_history(document["Id"]))
        await docker.remove_image("criwist.test/second:2", force=False, prune=True)
        self.assertEqual((await docker.inspect_image(situation.image))["RepoTags"], [situation.image])

    @scenario
    async def test_unknown_images_are_not_found(self, situation: Situation) -> None:
        """Every call for an unknown image raises NotFound with its name."""
        docker, absent = situation.docker, "criwist.test/absent:1"
        for call in (
            docker.inspect_image(absent),
            docker.image_history(absent),
            docker.remove_image(absent, force=False, prune=True),
            docker.tag_image(absent, repository="criwist.test/x", tag="1"),
        ):
            error = await self.raises(errors.NotFound, call)
            self.assertEqual((error.kind, error.name), ("image", absent))

    @scenario
    async def test_an_image_s_last_reference_is_kept_while_it_is_used(self, situation: Situation) -> None:
        """Removing the last reference of a used image fails without force, with an error that the client recognises."""
        await situation.created("one")
        call = situation.docker.remove_image(situation.image, force=False, prune=True)
        error = await self.raises(errors.FailedPrecondition, call)
        self.assertTrue(is_image_in_use(error))

    @scenario
    async def test_image_events(self, situation: Situation) -> None:
        """Tagging and untagging publish events with the image's id."""
        docker = situation.docker
        image = (await docker.inspect_image(situation.image))["Id"]
        feed = Feed(docker)
        await feed.connected
        await docker.tag_image(situation.image, repository="criwist.test/second", tag="2")
        await docker.remove_image("criwist.test/second:2", force=False, prune=True)
        await situation.eventually(lambda: feed.actions(image) == ["tag", "untag"])
        await feed.stop()
        self.assertEqual({event["Type"] for event in feed.seen}, {"image"})
