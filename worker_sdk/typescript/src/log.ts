/** Where the worker writes what it has to tell. */

/** A place for log lines; `console`, pino and winston fit. */
export type Logger = Readonly<Record<"debug" | "info" | "warn" | "error", (message: string, fields?: object) => void>>;

/** Lines on standard error, from `info` on; fields are left out, since the messages tell the same. */
export const stderrLogger: Logger = {
  debug: () => undefined,
  info: line("INFO"),
  warn: line("WARN"),
  error: line("ERROR"),
};

function line(level: string): (message: string) => void {
  return (message) => void process.stderr.write(`${new Date().toISOString()} ${level} ${message}\n`);
}

/** A logger whose lines carry these fields. */
export function withFields(logger: Logger, fields: object): Logger {
  const at = (level: keyof Logger) => (message: string, more?: object) =>
    logger[level](message, { ...fields, ...more });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
