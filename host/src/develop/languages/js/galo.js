// Helpers for handlers in JavaScript: plans, responses and rows. `galo bindings js` writes this file.

const encoder = new TextEncoder();

/** The two functions of a handler, made of the author's. What they throw is answered with 500, and logged. */
export function handler({ prepare, respond, failed = () => undefined }) {
  return {
    prepare: (request) =>
      guarded(
        () => {
          const plan = prepare(request);
          return plan.tag === "call" ? plan : { tag: "reply", val: plan };
        },
        (response) => ({ tag: "reply", val: response }),
      ),
    respond: (carry, outcome) =>
      guarded(
        // Without a response the host answers an error by its SQLSTATE.
        () => (outcome.tag === "rows" ? respond(carry, outcome.val) : failed(carry, outcome.val)),
        (response) => response,
      ),
  };
}

function guarded(run, answer) {
  try {
    return run();
  } catch (thrown) {
    const response = error(500, "internal_error");
    response.log.push({ level: "error", text: `${thrown}\n${thrown?.stack ?? ""}`.slice(0, 2000) });
    return answer(response);
  }
}

/** A response with this value as JSON. */
export function json(status, value, headers = {}) {
  const fields = Object.entries({ "content-type": "application/json", ...headers });
  return {
    status,
    headers: fields.map(([name, value]) => ({ name, value })),
    body: encoder.encode(JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? number(inner) : inner))),
    log: [],
  };
}

/** The response `{"error": message}`. */
export function error(status, message) {
  return json(status, { error: message });
}

/** The plan to call a procedure. `carry` is a text or bytes, and comes back to `respond` as bytes. */
export function call(procedure, values, carry = "") {
  const bytes = typeof carry === "string" ? encoder.encode(carry) : carry;
  return { tag: "call", val: { procedure, arguments: values.map(argument), carry: bytes } };
}

/** An argument: a whole number is an integer, an object or array is json. Contract values pass as they are. */
export function argument(value) {
  if (value === null || value === undefined) return { tag: "null" };
  switch (typeof value) {
    case "boolean":
      return { tag: "boolean", val: value };
    case "bigint":
      return { tag: "integer", val: value };
    case "number":
      return Number.isSafeInteger(value) ? { tag: "integer", val: BigInt(value) } : { tag: "float", val: value };
    case "string":
      return { tag: "text", val: value };
  }
  if (value instanceof Uint8Array) return { tag: "bytes", val: value };
  if (value instanceof Date) return { tag: "timestamp", val: BigInt(value.getTime()) * 1000n };
  return "tag" in value ? value : { tag: "json", val: JSON.stringify(value) };
}

/** A parameter of the route that is a decimal number from 0 to `max`, without sign or leading zeros; else undefined. */
export function decimal(request, name, max = 2147483647) {
  const text = parameter(request, name);
  if (text === undefined || !/^(0|[1-9][0-9]*)$/.test(text)) return undefined;
  const found = BigInt(text);
  return found <= BigInt(max) ? found : undefined;
}

/** A parameter of the route, or undefined. */
export function parameter(request, name) {
  return request.parameters.find((field) => field.name === name)?.value;
}

/** The rows as objects with the names of the columns. */
export function objects({ columns, values }) {
  const count = columns.length === 0 ? 0 : values.length / columns.length;
  const row = (index) => columns.map((name, column) => [name, plain(values[index * columns.length + column])]);
  return Array.from({ length: count }, (_, index) => Object.fromEntries(row(index)));
}

/** A value of a row: an integer as bigint, bytes as base64, a timestamp as text, json parsed. */
export function plain({ tag, val }) {
  switch (tag) {
    case "null":
      return null;
    case "float":
      return Number.isFinite(val) ? val : `${val}`;
    case "bytes":
      return base64(val);
    case "timestamp":
      return timestamp(val);
    case "json":
      return JSON.parse(val);
    default:
      return val;
  }
}

/** `2024-01-17T02:34:41.217753Z` of microseconds since 1970. */
export function timestamp(micros) {
  const rest = ((micros % 1000n) + 1000n) % 1000n;
  const text = new Date(Number((micros - rest) / 1000n)).toISOString();
  return `${text.slice(0, -1)}${rest.toString().padStart(3, "0")}Z`;
}

/** An integer in JSON without loss, where the engine can write one. */
function number(integer) {
  const safe = Number(integer);
  if (Number.isSafeInteger(safe)) return safe;
  return JSON.rawJSON ? JSON.rawJSON(integer.toString()) : integer.toString();
}

function base64(bytes) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a, b = 0, c = 0] = bytes.subarray(i, i + 3);
    const three = (a << 16) | (b << 8) | c;
    text += letters[three >> 18] + letters[(three >> 12) & 63];
    text += i + 1 < bytes.length ? letters[(three >> 6) & 63] : "=";
    text += i + 2 < bytes.length ? letters[three & 63] : "=";
  }
  return text;
}
