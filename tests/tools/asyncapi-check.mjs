// Reads an AsyncAPI document on stdin and fails with its own tool's complaints, if there are any.
import { Parser } from "@asyncapi/parser";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { document, diagnostics } = await new Parser().parse(Buffer.concat(chunks).toString());
const problems = diagnostics.filter((found) => found.severity <= 1);
for (const found of problems) console.error(`${found.path.join(".")}: ${found.message}`);
if (document === undefined || problems.length > 0) process.exit(1);
console.log(`${document.version()} ${document.allChannels().length} ${document.allMessages().length}`);
