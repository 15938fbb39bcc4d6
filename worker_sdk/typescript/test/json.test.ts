import assert from "node:assert/strict";
import { test } from "node:test";

import { parseJson, stringifyJson } from "../src/index.js";

void test("integers of any size survive", () => {
  for (const text of [
    "9007199254740993",
    "-9007199254740993",
    "123456789012345678901234567890",
    "[9007199254740992,1]",
  ]) {
    assert.equal(stringifyJson(parseJson(text)), text);
  }
  assert.equal(parseJson("9007199254740993"), 9007199254740993n);
  assert.equal(parseJson("9007199254740991"), 9007199254740991);
});

void test("what only looks like a large integer stays what it is", () => {
  const text =
    '{"9007199254740993":"9007199254740993","a\\"9007199254740993":0.12345678901234567890,"e":12345678901234567890e1}';
  assert.deepEqual(parseJson(text), JSON.parse(text));
  assert.equal(stringifyJson(parseJson('"\\\\9007199254740993"')), '"\\\\9007199254740993"');
});

void test("texts that are not JSON are refused, whatever digits they hold", () => {
  for (const text of [
    "",
    "01234567890123456789",
    "{9007199254740993:1}",
    "9007199254740993 9007199254740993",
    "[9007199254740993,]",
    "-",
    "NaN",
  ]) {
    assert.throws(() => parseJson(text), SyntaxError, text);
  }
});

void test("a long text beside a large integer is no trouble", () => {
  const text = `["${"x".repeat(16 << 20)}",9007199254740993]`;
  assert.equal(stringifyJson(parseJson(text)), text);
});

void test("a key named __proto__ is a key like any other", () => {
  const text = '{"__proto__":9007199254740993}';
  assert.equal(stringifyJson(parseJson(text)), text);
});

void test("BigInt is written as an integer, undefined as null, dates as texts", () => {
  assert.equal(
    stringifyJson({ a: [1n, 2], b: undefined, c: new Date(0) }),
    '{"a":[1,2],"c":"1970-01-01T00:00:00.000Z"}',
  );
  assert.equal(stringifyJson(undefined), "null");
  assert.equal(stringifyJson(-5n), "-5");
});

void test("what is not JSON is refused, and the message says where", () => {
  const circle: unknown[] = [];
  circle.push(circle);
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ a: [1, NaN] }, /value\.a\[1\] is NaN/],
    [-Infinity, /value is -Infinity/],
    [{ f: () => 1 }, /value\.f is a function/],
    [[Symbol("s")], /value\[0\] is a symbol/],
    [new Map([[1, 2]]), /value is a Map/],
    [[Promise.resolve()], /value\[0\] is a Promise/],
    [circle, /circular/],
  ];
  for (const [value, message] of cases) assert.throws(() => stringifyJson(value), message);
});
