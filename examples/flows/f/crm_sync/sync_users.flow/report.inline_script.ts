// How many of each.

type Done = { action: "created" | "updated" | "skipped"; contact: string };

export async function main(done: Done[]) {
  const counts = { created: 0, updated: 0, skipped: 0 };
  for (const { action } of done) counts[action] += 1;
  return { ...counts, contacts: done.map(({ contact }) => contact) };
}
