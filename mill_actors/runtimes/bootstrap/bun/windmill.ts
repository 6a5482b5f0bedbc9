// Windmill's client remembers the token that it finds when it is imported. Here a process outlives its
// jobs, and each of them has a token of its own, good while it runs: so a client that was given none
// sends that of the job that runs.

interface Settings {
  TOKEN: unknown;
}
type Module = { OpenAPI?: Settings; default?: { OpenAPI?: Settings } };

export const NAME = "windmill-client";
const CLIENT = /[\\/]windmill-client[\\/]dist[\\/]index\.m?js$/;

/** Adapts the client, if the script has loaded it; loads nothing itself. False: it may still come. */
export async function follow(): Promise<boolean> {
  let isThere = false;
  for (const file of Object.keys(require.cache)) {
    if (!CLIENT.test(file)) continue;
    // One whose import failed fails again, and is the script's affair.
    const module: Module | undefined = await import(file).catch(() => undefined);
    if (module === undefined) continue;
    const settings = module.OpenAPI ?? module.default?.OpenAPI;
    isThere = true;
    if (settings !== undefined && [undefined, process.env["WM_TOKEN"]].includes(settings.TOKEN as string)) adapt(settings);
  }
  return isThere;
}

function adapt(settings: Settings): void {
  Object.defineProperty(settings, "TOKEN", {
    configurable: true,
    enumerable: true,
    get: () => process.env["WM_TOKEN"],
    // `setClient` of the script's own: from then on it is as it says.
    set: (value) => Object.defineProperty(settings, "TOKEN", { value, writable: true, configurable: true, enumerable: true }),
  });
}
