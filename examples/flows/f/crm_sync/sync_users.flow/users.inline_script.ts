// The app's users, with the e-mail address that both sides know them by.

type User = { email: string; name: string; company: string; plan: string; deleted?: boolean };

export async function main(users: User[]) {
  return users
    .filter((user) => !user.deleted)
    .map(({ email, ...rest }) => ({ email: email.trim().toLowerCase(), ...rest }));
}
