// The ways a job fails that are not an error of its own.

/** A failure this program finds itself; it has a message and no stack. */
export class Failure extends Error {
  constructor(
    override readonly name: string,
    message: string,
    readonly extra?: Record<string, unknown>,
  ) {
    super(message);
  }
}

/** Thrown by `process.exit` inside a job. */
export class ProcessExit extends Error {
  override readonly name = "ProcessExit";
  constructor(readonly code: unknown) {
    super(`the script called process.exit(${code === undefined ? "" : String(code)})`);
  }
}
