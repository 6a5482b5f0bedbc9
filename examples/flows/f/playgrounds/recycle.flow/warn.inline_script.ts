// What the owner is told, and until when the account is left alone.

type Account = { id: string; owner: string; expires_at: string };

const DAYS_LEFT = 3;

export async function main(account: Account, now: string) {
  const until = new Date(now);
  until.setUTCDate(until.getUTCDate() + DAYS_LEFT);
  const day = until.toISOString().slice(0, 10);
  return {
    account: account.id,
    action: "warned",
    mail: { to: account.owner, subject: `Your playground is recycled on ${day}` },
  };
}
