"""Configuration lists as chains of plugin calls (CNI specification, section 3, "Execution").

ADD, CHECK, STATUS and GC go through the list from first to last, DEL from last to first.  ADD hands each plugin the
result of the one before; the last result is the result of the list.  The first plugin that fails ends the chain.

The error of a failed call has the plugin's own message, with the plugin, the command and the code.  The standard error
of plugins goes to criwist's log, whether they fail or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from criwist.errors import PluginFailure
from criwist.interfaces.metrics import NO_METRICS, OK, IMetrics
from criwist.netconf.invocations import Attachment, configuration, environment
from criwist.netconf.lists import NetworkList, Plugin
from criwist.netconf.plugin_errors import MalformedDocument, parse_json_object, quote_output, read_plugin_error
from criwist.netconf.results import convert, read_result
from criwist.netconf.versions import PREFERRED_VERSION, read_supported_versions
from criwist.network.plugin_process import Output

#: Seconds for one call of one plugin.  kubelet waits four minutes for a pod: when a plugin hangs in ADD, and once
#: more in the DEL that undoes it, kubelet still receives the error.
CALL_TIME_LIMIT = 90.0
#: Seconds for VERSION and STATUS, which every plugin has to answer before the first pod is set up.
INQUIRY_TIME_LIMIT = 10.0

#: The error of plugins that are older than the command VERSION.
_VERSION_UNKNOWN = "unknown CNI_COMMAND: VERSION"
#: VERSION is about no pod, but plugins built on old libraries require these variables.
_NO_POD = Attachment("dummy", "dummy", "dummy")


#: The code, in metrics, of a plugin that criwist killed.
_KILLED = "Killed"


class PluginReportedError(PluginFailure):
    """A plugin reported a failure in an error object, so it did not crash."""


class PluginNotRun(PluginFailure):
    """A plugin could not be started, so it has done nothing."""


Runner = Callable[[str, Mapping[str, str], bytes, float], Coroutine[Any, Any, Output]]


@define(eq=False)
class PluginChain:
    """Runs the plugins of configuration lists.

    :param run: ``run_plugin`` with a reactor: executable, environment, standard input, time limit.
    :param directories: searched for plugins, in order.
    :param metrics: counts the calls.
    :param environment: criwist's own, which plugins get beside the ``CNI_`` variables.
    """

    _run: Runner
    directories: tuple[str, ...]
    _environment: Mapping[str, str]
    time_limit: float = CALL_TIME_LIMIT
    _metrics: IMetrics = field(default=NO_METRICS, kw_only=True)
    _log: Logger = field(factory=Logger, kw_only=True)

    def find(self, executable: str) -> str | None:
        """Return the path of a plugin, None if it is in none of the directories."""
        for directory in self.directories:
            path = os.path.join(directory, executable)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    async def versions(self, executable: str) -> tuple[str, ...]:
        """Run a plugin's VERSION; return the versions of the specification that it supports.

        :raises PluginFailure: it is not installed, fails, or prints something else.
        """
        variables = environment("VERSION", _NO_POD, self.directories)
        stdin = json.dumps({"cniVersion": PREFERRED_VERSION}).encode()
        output = await self._call(executable, variables, stdin, min(self.time_limit, INQUIRY_TIME_LIMIT))
        if output.status != 0 and _VERSION_UNKNOWN in str(read_plugin_error(output.stdout)):
            return ("0.1.0",)
        _raise_failure(f"CNI plugin {executable}, VERSION", output)
        try:
            return read_supported_versions(parse_json_object(output.stdout))
        except MalformedDocument as problem:
            raise PluginFailure(f"CNI plugin {executable}, VERSION: it printed no versions: {problem}") from problem

    async def add(
        self,
        network: NetworkList,
        version: str,
        attachment: Attachment,
        progress: Callable[[Mapping[str, Any]], None] = lambda result: None,
    ) -> Mapping[str, Any]:
        """Attach a pod; return the result in the form of *version*.

        :param progress: called with the result of each plugin before the next one is called.
        :raises PluginFailure: a plugin failed; this method does not undo the plugins before it.
        """
        result: Mapping[str, Any] | None = None
        for plugin in network.plugins:
            if result is not None:
                progress(result)
            document = configuration(network, plugin, version, attachment=attachment, previous=result)
            output = await self._command("ADD", network, plugin, document, attachment)
            try:
                result = convert(parse_json_object(output.stdout), version)
                read_result(result)
            except MalformedDocument as problem:
                raise PluginFailure(
                    f"{_describe(plugin, 'ADD', network)}: it printed no result: {problem}"
                ) from problem
        return result or {}

    async def delete(
        self, network: NetworkList, version: str, attachment: Attachment, result: Mapping[str, Any] | None
    ) -> None:
        """Detach a pod.  A plugin that keeps to the specification succeeds for resources that are gone already.

        A plugin older than this rule fails with "no such file or directory" when the namespace is gone.  The older
        shims ignored that error; so does this method, and calls the plugins before it, which may still hold an address.

        :param result: of ADD, if it is known and plugins of *version* expect it.
        :raises PluginFailure: a plugin failed; those before it in the list were not called.
        """
        for plugin in reversed(network.plugins):
            document = configuration(network, plugin, version, attachment=attachment, previous=result)
            try:
                await self._command("DEL", network, plugin, document, attachment)
            except PluginNotRun:
                raise
            except PluginFailure as failure:
                if attachment.netns or "no such file or directory" not in str(failure).lower():
                    raise
                self._log.info("{failure}; ignored, since the pod's network namespace is gone", failure=failure)

    async def check(
        self, network: NetworkList, version: str, attachment: Attachment, result: Mapping[str, Any]
    ) -> None:
        """Have the plugins check that an attachment is as ADD left it.

        :raises PluginReportedError: it is not; the text is from the first plugin that reports it.
        :raises PluginFailure: a plugin could not check.  Some crash: the bandwidth plugin 1.1.1, for one, for every pod
            without limits.
        """
        for plugin in network.plugins:
            document = configuration(network, plugin, version, attachment=attachment, previous=result)
            await self._command("CHECK", network, plugin, document, attachment)

    async def status(self, network: NetworkList, version: str) -> None:
        """Return if the plugins can serve ADD now.

        :raises PluginFailure: one cannot; the text is the plugin's.
        """
        for plugin in network.plugins:
            await self._command("STATUS", network, plugin, configuration(network, plugin, version), None)

    async def collect(self, network: NetworkList, version: str, valid: Sequence[tuple[str, str]]) -> None:
        """GC: have every plugin release resources that belong to none of the *valid* attachments.

        :raises PluginFailure: one or more failed; all were called.
        """
        failures = []
        for plugin in network.plugins:
            document = configuration(network, plugin, version, valid_attachments=valid)
            try:
                await self._command("GC", network, plugin, document, None)
            except PluginFailure as failure:
                failures.append(str(failure))
        if failures:
            raise PluginFailure("; ".join(failures))

    async def _command(
        self,
        command: str,
        network: NetworkList,
        plugin: Plugin,
        document: Mapping[str, Any],
        attachment: Attachment | None,
    ) -> Output:
        variables = environment(command, attachment, self.directories)
        time_limit = min(self.time_limit, INQUIRY_TIME_LIMIT) if command == "STATUS" else self.time_limit
        output = await self._call(plugin.type, variables, json.dumps(document).encode(), time_limit)
        if output.stderr:
            self._log.info(
                "CNI plugin {plugin}, {command} for sandbox {sandbox}: {stderr}",
                plugin=plugin.type,
                command=command,
                sandbox=attachment.container_id if attachment else "-",
                stderr=output.stderr.decode("utf-8", "replace").strip(),
            )
        _raise_failure(_describe(plugin, command, network), output)
        return output

    async def _call(self, executable: str, variables: Mapping[str, str], stdin: bytes, time_limit: float) -> Output:
        path = self.find(executable)
        if path is None:
            raise PluginNotRun(f"CNI plugin {executable} not found in {', '.join(self.directories)}")
        began, code = self._metrics.now(), OK
        try:
            output = await self._run(path, {**self._environment, **variables}, stdin, time_limit)
            code = OK if output.status == 0 else _KILLED if output.kill_reason else PluginFailure.__name__
            return output
        except OSError as problem:
            code = PluginNotRun.__name__
            raise PluginNotRun(f"CNI plugin {path} cannot be started: {problem.strerror or problem}") from problem
        except CancelledError:
            code = _KILLED
            raise
        finally:
            self._metrics.cni_call(executable, variables["CNI_COMMAND"], code, self._metrics.now() - began)


def _describe(plugin: Plugin, command: str, network: NetworkList) -> str:
    return f"CNI plugin {plugin.type}, {command} on network {network.name}"


def _raise_failure(call: str, output: Output) -> None:
    """Raise PluginFailure if a call failed, with its error object, or else its output, or else its exit status."""
    if output.kill_reason:
        raise PluginFailure(f"{call}: {output.kill_reason} and was killed")
    if output.status == 0:
        return
    error = read_plugin_error(output.stdout)
    if error is not None:
        raise PluginReportedError(f"{call}: {error} (code {error.code})")
    status = f"signal {-output.status}" if output.status < 0 else f"exit status {output.status}"
    printed = quote_output(output.stdout) or quote_output(output.stderr)
    raise PluginFailure(f"{call}: {printed} ({status})" if printed else f"{call}: {status}, and it printed nothing")
