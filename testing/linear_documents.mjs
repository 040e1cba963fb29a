// Validates GraphQL documents against Linear's schema, as the declarations of Linear's own SDK have it.
//
//     node linear_documents.mjs NODE_MODULES < DOCUMENTS
//
// DOCUMENTS is a JSON array of texts. The answer, on stdout, is an array of as many arrays of what is wrong with each.

import { readFileSync, readdirSync } from "node:fs";
import { text } from "node:stream/consumers";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules] = process.argv.slice(2);
const { buildASTSchema, parse, validate } = await import(
  pathToFileURL(join(modules, "graphql/index.mjs"))
);

const folder = join(modules, "@linear/sdk/dist");
const declarations = readdirSync(folder)
  .filter((name) => /^index-.*\.d\.mts$/.test(name))
  .map((name) => readFileSync(join(folder, name), "utf8"))
  .join("\n");

const types = new Map();
for (const [, name, body] of declarations.matchAll(/^type (\w+) = (?:[\w &]+ & )?\{\n(.*?)^\};/gms)) {
  const fields = [...body.matchAll(/^ {2}(\w+)\??: (.+);$/gm)].map(([, field, type]) => [field, type]);
  types.set(name, fields);
}

/** A type as GraphQL writes it. */
function written(type) {
  const maybe = type.match(/^(?:Input)?Maybe<(.*)>$/);
  if (maybe) return written(maybe[1]).replace(/!$/, "");
  const list = type.match(/^Array<(.*)>$/);
  if (list) return `[${written(list[1])}]!`;
  const scalar = type.match(/^Scalars\["(\w+)"\]$/);
  return `${scalar ? scalar[1] : type}!`;
}

const capital = (name) => name[0].toUpperCase() + name.slice(1);
const lines = [];
const standard = ["ID", "String", "Boolean", "Int", "Float"];
for (const [scalar] of types.get("Scalars")) {
  if (!standard.includes(scalar)) lines.push(`scalar ${scalar}`);
}
for (const [, name, body] of declarations.matchAll(/^declare enum (\w+) \{\n(.*?)^\}/gms)) {
  const values = [...body.matchAll(/= "(\w+)"/g)].map(([, value]) => value);
  lines.push(`enum ${name} { ${values.join(" ")} }`);
}
for (const [name, fields] of types) {
  if (name === "Scalars" || name.endsWith("Args") || fields.length === 0) continue;
  const isObject = fields.some(([field]) => field === "__typename");
  const known = fields.filter(([field, type]) => field !== "__typename" && /^[A-Z][\w<>[\]"]+$/.test(type));
  const declared = known.map(([field, type]) => {
    const given = isObject ? (types.get(`${name}${capital(field)}Args`) ?? []) : [];
    const taken = given.map(([argument, of]) => `${argument}: ${written(of)}`);
    return `${field}${taken.length ? `(${taken.join(", ")})` : ""}: ${written(type)}`;
  });
  if (declared.length === 0) continue;
  lines.push(`${isObject ? "type" : "input"} ${name} { ${declared.join("\n")} }`);
}

// What is none of these, such as a union, is looked into by none of the documents.
const sdl = lines.join("\n");
const named = new Set([...sdl.matchAll(/: \[*(\w+)/g)].map(([, name]) => name));
const others = [...named].filter(
  (name) => !standard.includes(name) && !new RegExp(`^(?:type|input|enum|scalar) ${name}\\b`, "m").test(sdl),
);
const all = `${sdl}\n${others.map((name) => `scalar ${name}`).join("\n")}`;

const schema = buildASTSchema(parse(all, { noLocation: true }), {
  assumeValid: true,
  assumeValidSDL: true,
});
const documents = JSON.parse(await text(process.stdin));
const wrong = documents.map((document) => validate(schema, parse(document)).map((error) => error.message));
console.log(JSON.stringify(wrong));
