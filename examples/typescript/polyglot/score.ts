/** Serves the handler wordcount.score: one language of the demo in which workers of several languages share a run. */
import { Worker, type MapInput } from "stepgres-worker";

/** What `wordcount.count` tells of a text. */
interface Counts {
  path: string;
  lines: number;
  words: number;
  letters: number;
  longest: string;
}

/** A text that is none, a list of single words, sources, or sentences. */
type Kind = "empty" | "list" | "code" | "prose";

interface Score extends Counts {
  /** Characters per word, blanks included, in tenths. */
  density: number;
  kind: Kind;
}

function kindOf({ lines, words, longest }: Counts, density: number): Kind {
  if (words === 0) return "empty";
  if (words < 3 * lines) return "list";
  return density >= 75 || [...longest].length > 60 ? "code" : "prose";
}

function score({ item }: MapInput<Counts>): Score {
  const density = Math.floor((10 * item.letters) / Math.max(1, item.words));
  return { ...item, density, kind: kindOf(item, density) };
}

const worker = new Worker({ name: process.env["STEPGRES_WORKER_NAME"] ?? "typescript", concurrency: 50 });
worker.step("score", score, { flow: "wordcount", description: "Says what kind of text was counted." });
await worker.run();
