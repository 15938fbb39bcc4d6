/** Flows: steps as data, flows whose steps are functions, and both on their way to the wire. */
import { inspect } from "node:util";

import { StepType } from "./gen/stepgres/v1/common.js";
import { CreateFlowRequest, StepDefinition } from "./gen/stepgres/v1/flow.js";
import type { Handler } from "./handler.js";
import { stringifyJson, type JsonValue } from "./json.js";

/** What a step may say besides its name and its dependencies; not given: the flow's value. */
export type StepOptions = Readonly<Partial<Omit<StepDefinition, "slug" | "dependsOn" | "stepType" | "initialTasks">>>;

/** A step as data. */
export interface Step extends StepOptions {
  /** `^[a-zA-Z_][a-zA-Z0-9_]*$`, 1-128 characters, not `run`. */
  readonly slug: string;
  /** Slugs of the steps whose outputs it needs; a map has none or one. */
  readonly dependsOn?: readonly string[];
  /** `single`, the default: one task a run. `map`: one task for each element of an array. */
  readonly stepType?: "single" | "map" | StepType;
  /** Maps only: the promised number of items. Default: any. */
  readonly initialTasks?: number;
}

/** Defaults of a flow's steps, and what becomes of a flow that exists with another shape. */
export type FlowOptions = Readonly<Partial<Omit<CreateFlowRequest, "slug" | "steps">>>;

/** A flow as data, such as a model writes it. */
export interface Plan extends FlowOptions {
  readonly slug?: string;
  readonly steps: readonly Step[];
}

/** A plan: a flow as data, or only its steps. What `JSON.parse` made of a flow file will do. */
export type PlanLike = Plan | readonly Step[] | { readonly [field: string]: JsonValue };

/** A step of a flow in code, for `dependsOn` and `over`; carries the type of its output. */
export interface StepRef<Slug extends string, Output> {
  readonly slug: Slug;
  /** Only a type: what the step's outputs are. */
  readonly output?: Output;
}

type AnyRef = StepRef<string, unknown>;
type OutputOf<Ref> = Ref extends StepRef<string, infer Output> ? Output : never;
type ElementOf<List> = List extends readonly (infer Element)[] ? Element : never;
/** What a single step gets: the run's input, and the output of each dependency under its slug. */
type InputOf<Run, Refs extends readonly AnyRef[]> = { run: Run } & {
  [Ref in Refs[number] as Ref["slug"]]: OutputOf<Ref>;
};
/** What a task of a map gets: an element of the array, and its index. */
export interface MapInput<Item> {
  readonly item: Item;
  readonly index: number;
}

/**
 * A flow whose steps are functions.
 *
 *     const etl = new Flow<{ numbers: number[] }>("etl");
 *     const fetch = etl.step("fetch", ({ run }) => run.numbers);
 *     const double = etl.map("double", ({ item }) => item * 2, { over: fetch });
 *     etl.step("sum", ({ double }) => double.reduce((a, b) => a + b, 0), { dependsOn: [double] });
 *
 * @typeParam Run the run's input.
 */
export class Flow<Run = unknown> {
  /** The steps in the order in which they were added. */
  readonly steps: Step[] = [];
  /** Functions by handler name. */
  readonly handlers = new Map<string, Handler>();

  constructor(
    /** `^[a-zA-Z_][a-zA-Z0-9_]*$`, 1-128 characters, not `run`. */
    readonly slug: string,
    readonly options: FlowOptions = {},
  ) {}

  /** Adds a single step: its function gets `{run: <run input>, <dependency>: <its output>, …}`. */
  step<const Slug extends string, Output, const Refs extends readonly AnyRef[] = []>(
    slug: Slug,
    handler: Handler<InputOf<Run, Refs>, Output>,
    { dependsOn, ...options }: StepOptions & { readonly dependsOn?: Refs } = {},
  ): StepRef<Slug, Awaited<Output>> {
    return this.#add({ ...options, slug, dependsOn: (dependsOn ?? []).map((ref) => ref.slug) }, handler as Handler);
  }

  /** Adds a map over the output of a step, an array, or without `over` over the run's input. */
  map<const Slug extends string, Output, Over = Run>(
    slug: Slug,
    handler: Handler<MapInput<ElementOf<Over>>, Output>,
    { over, ...options }: StepOptions & { readonly over?: StepRef<string, Over>; readonly initialTasks?: number } = {},
  ): StepRef<Slug, Awaited<Output>[]> {
    return this.#add({ ...options, slug, stepType: "map", dependsOn: over ? [over.slug] : [] }, handler as Handler);
  }

  #add<Ref>(step: Step, handler: Handler): Ref {
    const name = step.handler ?? `${this.slug}.${step.slug}`;
    if (this.steps.some(({ slug }) => slug === step.slug) || (this.handlers.get(name) ?? handler) !== handler) {
      throw new TypeError(
        `flow ${this.slug}: step ${step.slug} or handler ${name} is there already; name it otherwise`,
      );
    }
    this.steps.push(step);
    this.handlers.set(name, handler);
    return { slug: step.slug } as Ref;
  }
}

/** A flow in code, whatever its run's input is. */
export type AnyFlow = Pick<Flow, "slug" | "options" | "steps" | "handlers">;

/** What flows and steps may say, in TypeScript's spelling, with a value of each field's kind. */
const OPTIONS = { maxAttempts: 0, timeoutS: 0, baseDelayS: 0, maxDelayS: 0, queue: "" };
const STEP = { ...OPTIONS, slug: "", dependsOn: [], stepType: "", initialTasks: 0, handler: "", params: {} };
const PLAN = { ...OPTIONS, slug: "", steps: [], newVersion: false };

/**
 * A plan for the wire, from TypeScript's spelling or that of flow files.
 *
 * @param path where it stands in what its author sends, for messages: empty, or with a dot at its end.
 * @throws TypeError when a field is unknown or of the wrong kind.
 */
export function planRequest(plan: PlanLike, path = ""): CreateFlowRequest {
  const { steps = [], ...rest } = fields<Plan>(Array.isArray(plan) ? { steps: plan } : plan, PLAN, path);
  const definitions = steps.map((step, index) => stepDefinition(step, `${path}steps[${index}].`));
  return CreateFlowRequest.fromPartial({ ...rest, steps: definitions });
}

/** A step for the wire; as `planRequest`. */
export function stepDefinition(step: Step, path = ""): StepDefinition {
  const { stepType = "single", dependsOn = [], params, ...rest } = fields<Step>(step, STEP, path);
  const name = `STEP_TYPE_${stepType.toUpperCase()}`;
  const type = Object.values(StepType).find((known) => known === stepType || known === name);
  if (!type) throw new TypeError(`${path}stepType: is ${inspect(stepType)}; "single" or "map" is needed`);
  const text = stringifyJson(params);
  const exact = JSON.parse(text) as StepDefinition["params"];
  if (JSON.stringify(exact) !== text) {
    throw new TypeError(`${path}params: a number is beyond 2^53 and would lose digits; pass it as text`);
  }
  return StepDefinition.fromPartial({ ...rest, stepType: type, dependsOn: [...dependsOn], params: exact ?? undefined });
}

/** The fields of a document, by their TypeScript names; null means "not given". */
function fields<Document>(document: object, known: Readonly<Record<string, unknown>>, path: string): Document {
  const found: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(document)) {
    if (value === null || value === undefined) continue;
    const field = name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    if (!Object.hasOwn(known, field)) {
      throw new TypeError(`${path}${name}: is unknown; the fields are ${Object.keys(known).join(", ")}`);
    }
    const kind = kindOf(known[field]);
    if (kindOf(value) !== kind) throw new TypeError(`${path}${name}: is ${inspect(value)}; a ${kind} is needed`);
    found[field] = value;
  }
  return found as Document;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "list";
  return Number.isInteger(value) ? "whole number" : typeof value;
}
