"""Helpers for handlers in Python: plans, responses and rows. `galo bindings python` writes this file."""

import base64
import json
import math
from datetime import datetime, timedelta, timezone

import wit_world
from wit_world.imports import types

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def handler(prepare, respond, failed=lambda carry, error: None):
    """The class that componentize-py looks for, made of the author's functions.

    What they raise is answered with 500, and logged.
    """

    class WitWorld(wit_world.WitWorld):
        def prepare(self, request):
            try:
                plan = prepare(request)
            except Exception as raised:
                plan = broken(raised)
            return plan if isinstance(plan, types.Plan_Call) else types.Plan_Reply(plan)

        def respond(self, carry, outcome):
            try:
                if isinstance(outcome, types.Outcome_Rows):
                    return respond(carry, outcome.value)
                # Without a response the host answers an error by its SQLSTATE.
                return failed(carry, outcome.value)
            except Exception as raised:
                return broken(raised)

    return WitWorld


def broken(raised):
    """The answer to an exception. Not by `traceback`, which looks for the lines of the source in files."""
    lines, frame = [f"{type(raised).__name__}: {raised}"], raised.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        lines.append(f'File "{code.co_filename}", line {frame.tb_lineno}, in {code.co_name}')
        frame = frame.tb_next
    response = error(500, "internal_error")
    response.log.append(types.Line(types.Level.ERROR, "\n".join(lines)[-2000:]))
    return response


def reply(status, value, headers=None):
    """A response with this value as JSON."""
    fields = {"content-type": "application/json", **(headers or {})}
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return types.Response(status, [types.Field(name, value) for name, value in fields.items()], body, [])


def error(status, message):
    """The response `{"error": message}`."""
    return reply(status, {"error": message})


def call(procedure, values, carry=b""):
    """The plan to call a procedure. `carry` comes back to `respond` as bytes."""
    carry = carry.encode() if isinstance(carry, str) else carry
    return types.Plan_Call(types.Call(procedure, [argument(value) for value in values], carry))


def argument(value):
    """An argument: a dict or list is json. Contract values pass as they are."""
    if value is None:
        return types.Value_Null()
    if isinstance(value, bool):
        return types.Value_Boolean(value)
    if isinstance(value, int):
        return types.Value_Integer(value)
    if isinstance(value, float):
        return types.Value_Float(value)
    if isinstance(value, str):
        return types.Value_Text(value)
    if isinstance(value, bytes):
        return types.Value_Bytes(value)
    if isinstance(value, datetime):
        return types.Value_Timestamp((value - EPOCH) // timedelta(microseconds=1))
    if isinstance(value, (dict, list)):
        return types.Value_Json(json.dumps(value))
    return value


def parameter(request, name):
    """A parameter of the route, or None."""
    return next((field.value for field in request.parameters if field.name == name), None)


def decimal(request, name, most=2**31 - 1):
    """A parameter that is a decimal number from 0 to `most`, without sign or leading zeros; else None."""
    text = parameter(request, name) or ""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or (len(text) > 1 and text[0] == "0"):
        return None
    return int(text) if int(text) <= most else None


def objects(rows):
    """The rows as dicts with the names of the columns."""
    width = len(rows.columns)
    starts = range(0, len(rows.values), width) if width else ()
    return [dict(zip(rows.columns, map(plain, rows.values[start : start + width]))) for start in starts]


def plain(value):
    """A value of a row: bytes as base64, a timestamp as text, json parsed."""
    if isinstance(value, types.Value_Null):
        return None
    if isinstance(value, types.Value_Bytes):
        return base64.b64encode(value.value).decode()
    if isinstance(value, types.Value_Timestamp):
        return (EPOCH + timedelta(microseconds=value.value)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, types.Value_Json):
        return json.loads(value.value)
    if isinstance(value, types.Value_Float) and not math.isfinite(value.value):
        return "NaN" if math.isnan(value.value) else "Infinity" if value.value > 0 else "-Infinity"
    return value.value
