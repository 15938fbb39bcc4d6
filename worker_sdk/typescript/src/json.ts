/**
 * JSON in and out, integers of any size exact.
 *
 * `JSON.parse` reads 9007199254740993 as 9007199254740992, and `JSON.stringify` writes NaN as null and a Map as {}.
 * Here integers beyond 2^53 become BigInt and back, and what is not JSON is refused.
 */
import { randomUUID } from "node:crypto";

/** What JSON can hold; integers beyond `Number.MAX_SAFE_INTEGER` are BigInt. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | { [key: string]: JsonValue };

/** Only a text with so many digits in a row can hold an integer that a number cannot. */
const LONG_RUN = /\d{16}/;
/** A string, or a number that is an integer in its own right. Strings come first, so that no digits in them match. */
const STRING_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\s*:)/g;
const INTEGER = /^-?\d+$/;

/**
 * Decodes JSON; integers beyond 2^53 become BigInt.
 *
 * @throws SyntaxError when the text is not JSON.
 */
export function parseJson(text: string): JsonValue {
  if (!LONG_RUN.test(text)) return JSON.parse(text) as JsonValue;
  const mark = randomUUID(); // large integers travel through `JSON.parse` as texts that nobody else can write
  const marked = text.replace(STRING_OR_NUMBER, (found) =>
    INTEGER.test(found) && !Number.isSafeInteger(Number(found)) ? `"${mark}${found}"` : found,
  );
  return JSON.parse(marked, (_, value: JsonValue) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  ) as JsonValue;
}

/**
 * Encodes a value as compact JSON: BigInt as an integer, undefined as null, objects as `JSON.stringify` does.
 *
 * @throws TypeError for NaN, infinities, functions, symbols, Maps, Sets, promises and what holds itself; the message
 *   tells where.
 */
export function stringifyJson(value: unknown): string {
  const mark = randomUUID();
  const paths = new Map<unknown, string>();
  let large = false;
  const text = JSON.stringify(value ?? null, function (this: unknown, key, item: unknown) {
    if (typeof item === "bigint") {
      large = true;
      return mark + item;
    }
    const fault = faultOf(item);
    if (fault || typeof item === "object") {
      const holder = paths.get(this);
      const path = holder === undefined ? "value" : holder + (Array.isArray(this) ? `[${key}]` : `.${key}`);
      if (fault) throw new TypeError(`${path} is ${fault}`);
      paths.set(item, path);
    }
    return item;
  });
  return large ? text.replaceAll(new RegExp(`"${mark}(-?\\d+)"`, "g"), "$1") : text;
}

/** What JSON cannot hold; undefined when it can. */
function faultOf(value: unknown): string | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? undefined : String(value);
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  const alien = value instanceof Map || value instanceof Set || value instanceof Promise;
  return alien ? `a ${value.constructor.name}` : undefined;
}

/** Decodes a payload of the contract; undefined when it is empty, which means: there is none, or it was not asked for. */
export function decodePayload(payload: Buffer): JsonValue | undefined {
  return payload.length ? parseJson(payload.toString()) : undefined;
}

/** Encodes an input: bytes are JSON already and pass through, undefined is {}. */
export function encodeInput(value: unknown): Buffer {
  return Buffer.from(value instanceof Uint8Array ? value : stringifyJson(value === undefined ? {} : value));
}
