// A script as somebody writes it for Windmill; a job says which function it calls.
import * as wmill from "windmill-client";

export async function main() {
  const workspace = process.env.WM_WORKSPACE!;
  return {
    workspace,
    email: (await wmill.UserService.globalWhoami()).email,
    username: (await wmill.UserService.whoami({ workspace })).username,
    job: process.env.WM_JOB_ID,
    // The client of this module was made long before this job.
    raw: await wmill.JobService.getJob({ workspace, id: process.env.WM_JOB_ID! }).then((job) => job.type),
  };
}

export async function children(path: string, digest: string, flow: string) {
  const jobs = [
    await wmill.runScriptByPathAsync(path, { name: "a" }),
    await wmill.runScriptByHashAsync(digest, { name: "b" }),
    await wmill.runScriptAsync(path, null, { name: "c" }),
    await wmill.runFlowAsync(flow, { x: 1 }),
  ];
  const waited = [];
  for (const job of jobs) waited.push(await wmill.waitJob(job));
  const workspace = process.env.WM_WORKSPACE!;
  const looked = await Promise.all(jobs.map((id) => wmill.JobService.getJob({ workspace, id })));
  return {
    waited,
    parents: looked.map((job) => job.parent_job === process.env.WM_JOB_ID),
    roots: (await Promise.all(jobs.map((job) => wmill.getRootJobId(job)))).map((root, at) => root === jobs[at]),
    byPath: await wmill.runScriptByPath(path, { name: "d" }),
    byHash: await wmill.runScriptByHash(digest, { name: "e" }),
    deprecated: await wmill.runScript(path, null, { name: "f" }),
    flow: await wmill.runFlow(flow, { x: 4 }),
  };
}

export async function fails(path: string) {
  try {
    return await wmill.runScriptByPath(path);
  } catch (error) {
    return String(error);
  }
}

/** What is not there ends the wait: the client takes the answer's words for a job's id. */
export async function missing() {
  try {
    return await wmill.runScriptByPath("f/c/nowhere");
  } catch (error) {
    return (error as { status?: number }).status;
  }
}

export async function values() {
  await wmill.setVariable("u/admin/js", "one", false, "told");
  await wmill.setVariable("u/admin/js", "two");
  await wmill.setVariable("u/admin/js_secret", "hush", true);
  await wmill.setResource({ key: "$var:u/admin/js_secret" }, "u/admin/js_res", "any");
  await wmill.setResource({ key: "$var:u/admin/js_secret", more: [1, null] }, "u/admin/js_res");
  return {
    plain: await wmill.getVariable("u/admin/js"),
    secret: await wmill.getVariable("u/admin/js_secret"),
    resource: await wmill.getResource("u/admin/js_res"),
    prefixed: await wmill.getResource("$res:u/admin/js_res"),
    nothing: (await wmill.getResource("u/admin/nothing", true)) ?? "nothing",
    refused: await wmill.getVariable("u/admin/nothing").catch((error) => String(error)),
  };
}

export async function states() {
  const before = (await wmill.getState()) ?? null;
  await wmill.setState({ seen: 1 });
  await wmill.setState({ seen: 2 });
  await wmill.setState("elsewhere", "u/admin/js_state");
  return { before, after: await wmill.getState(), elsewhere: await wmill.getState("u/admin/js_state") };
}

export async function progress(other: string) {
  const before = await wmill.getProgress();
  await wmill.setProgress(33.7);
  await wmill.setProgress(66.9, other);
  return [before, await wmill.getProgress(), await wmill.getProgress(other)];
}

export async function cancels(job: string) {
  await wmill.cancelJob(job, "no longer wanted");
  await wmill.cancelJob(job);
  return wmill.waitJob(job).catch((error) => JSON.stringify(error) + String(error));
}

export async function address() {
  return wmill.usernameToEmail("admin");
}

export async function refused() {
  const told: Record<string, string> = {};
  const calls: Record<string, () => Promise<unknown>> = {
    getIdToken: () => wmill.getIdToken("somebody"),
    loadS3File: () => wmill.loadS3File({ s3: "a" }),
    writeS3File: () => wmill.writeS3File({ s3: "a" }, "x"),
    deleteS3File: () => wmill.deleteS3File({ s3: "a" }),
    signS3Object: () => wmill.signS3Object({ s3: "a" }),
    denoS3LightClientSettings: () => wmill.denoS3LightClientSettings(undefined),
    getApprovalUrls: () => wmill.getApprovalUrls(),
    commitKafkaOffsets: () => wmill.commitKafkaOffsets("f/a/b", "t", 0, 1),
    datatable: () => wmill.datatable("main")`select 1`.fetch(),
  };
  for (const [name, call] of Object.entries(calls)) {
    try {
      told[name] = `no error: ${JSON.stringify(await call())}`;
    } catch (error) {
      told[name] = `${String(error)} ${JSON.stringify((error as { body?: unknown }).body ?? null)}`;
    }
  }
  return told;
}
