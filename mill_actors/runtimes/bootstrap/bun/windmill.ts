// Windmill's client remembers the token that it finds when it is imported. Here a process outlives its
// jobs, and each of them has a token of its own, good while it runs: so a client that was given none
// sends that of the job that runs.

interface Settings {
  TOKEN: unknown;
}
type Module = { OpenAPI?: Settings; default?: { OpenAPI?: Settings } };

const CLIENT = /[\\/]windmill-client[\\/]dist[\\/]index\.m?js$/;

/** Adapts the client, if the script has loaded it; loads nothing itself. */
export async function follow(): Promise<void> {
  for (const file of Object.keys(require.cache)) {
    if (!CLIENT.test(file)) continue;
    const module = (await import(file)) as Module;
    const settings = module.OpenAPI ?? module.default?.OpenAPI;
    if (settings !== undefined && [undefined, process.env["WM_TOKEN"]].includes(settings.TOKEN as string)) adapt(settings);
  }
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
