// What the official OpenAI SDK for Node makes of the gateway, one JSON object a case. Its own retries are off: they
// would hide our faults. usage: node sdk.mjs BASE_URL KEY CASE
import OpenAI from "openai";

const [baseURL, apiKey, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "hello" }];
const asked = { model: "test-model", messages };

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  return chunks;
}

const cases = {
  async chat() {
    const { data, response } = await client.chat.completions.create(asked).withResponse();
    return { content: data.choices[0].message.content, total: data.usage.total_tokens,
             target: response.headers.get("x-dynabus-target") };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) {
      ids.push(model.id);
    }
    const one = await client.models.retrieve("test-model");
    return { ids, one: one.id };
  },
  async stream() {
    const chunks = await collect(await client.chat.completions.create({ ...asked, stream: true }));
    return { content: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
             finish: chunks.at(-1).choices[0].finish_reason,
             usages: chunks.filter((chunk) => chunk.usage).length };
  },
  async usage() {
    const chunks = await collect(await client.chat.completions.create(
      { ...asked, stream: true, stream_options: { include_usage: true } }));
    return { total: chunks.at(-1).usage.total_tokens, choices: chunks.at(-1).choices.length };
  },
  async abort() {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) {
      stream.controller.abort();
      return { first: chunk.choices[0].delta.content };
    }
  },
  async error() {
    return client.chat.completions.create({ model: "no-such-model", messages });
  },
  async failing_stream() {
    return collect(await client.chat.completions.create({ ...asked, stream: true }));
  },
};

try {
  console.log(JSON.stringify(await cases[name]()));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, status: error.status ?? null, code: error.code ?? null,
                               message: error.message }));
}
