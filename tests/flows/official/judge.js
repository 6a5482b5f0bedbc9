// Reads a JSON array of flows and writes, for each, what Windmill's own validator says against it.
import { WindmillYamlValidator } from "windmill-yaml-validator";

const validator = new WindmillYamlValidator();
const told = (await Bun.stdin.json()).map(flow =>
  validator
    .validate(JSON.stringify(flow), { type: "flow" })
    .errors.map(error => `${error.instancePath || "/"} ${error.message}`),
);
console.log(JSON.stringify(told));
