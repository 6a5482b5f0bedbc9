// `./shared`: the folder that all steps of a flow see, whichever process they run in. A link in the
// folder this process was started in. It is looked at before each job of such a flow, for the job
// before may have done anything to it; a job of no such flow finds none of ours.

import { lstatSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./failures.ts";

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

export class Shared {
  /** Taken before the script can change the working directory. */
  readonly #path = join(process.cwd(), "shared");
  #target: string | undefined;
  #count = 0;

  /** Makes `./shared` lead to the folder; undefined takes away the link made for an earlier job. */
  show(target: string | undefined): void {
    if (target === undefined && this.#target === undefined) return;
    try {
      const leadsTo = this.#leadsTo();
      if (target !== undefined && leadsTo !== target) this.#replace(target);
      else if (target === undefined && leadsTo === this.#target) unlinkSync(this.#path);
    } catch (error) {
      throw new Failure("SharedFolder", `./shared can't be changed: ${(error as Error).message}`);
    }
    this.#target = target;
  }

  #leadsTo(): string | undefined {
    try {
      return readlinkSync(this.#path);
    } catch {
      return undefined; // there is nothing, or no link
    }
  }

  #replace(target: string): void {
    const link = this.#beside(".new");
    symlinkSync(target, link);
    try {
      if (lstatSync(this.#path, { throwIfNoEntry: false })?.isDirectory()) {
        // A job's own folder, with data in it: kept, under a name of its own.
        renameSync(this.#path, this.#beside(".old"));
      }
      renameSync(link, this.#path);
    } catch (error) {
      unlinkSync(link);
      throw error;
    }
  }

  /** A name that nothing has. */
  #beside(mark: string): string {
    for (;;) {
      this.#count += 1;
      const path = `${this.#path}${mark}${this.#count}`;
      if (!isThere(path)) return path;
    }
  }
}
