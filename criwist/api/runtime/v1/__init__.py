"""CRI runtime.v1: api.proto is ours, api_pb2 and api_pb2_grpc are made of it by protoc."""

from __future__ import annotations
