// Calls the plugin at argv[2] as opencode does in a subagent's session, and lives until standard input ends.

const { DevTrace } = await import(process.argv[2])
const hooks = await DevTrace({ directory: "/repo" })

const env = {}
const tool = { tool: "bash", sessionID: "ses_2", callID: "c1" }
const args = { command: "true" }
const message = { id: "msg_2", model: { providerID: "p", modelID: "m" } }
const part = { id: "prt_1", type: "text", text: "I do.", messageID: "msg_3", sessionID: "ses_2" }
const begun = { ...part, time: { start: 1 } }
const whole = { ...part, time: { start: 1, end: 2 } }
const result = { title: "t", output: "o", metadata: { exit: 0, output: "o", diff: {} } }
const parts = [{ type: "text", text: "go" }, { type: "file", url: "data:" }]
const answer = { id: "msg_3", role: "assistant", parentID: "msg_2", sessionID: "ses_2" }

const bus = (type, properties) => hooks.event({ event: { type, properties } })

await hooks["chat.message"]({ sessionID: "ses_1" }, { message: { id: "msg_1" }, parts })
await bus("session.created", { info: { id: "ses_2", parentID: "ses_1" } })
await hooks["chat.message"]({ sessionID: "ses_2" }, { message, parts })
await bus("message.updated", { info: answer })
await hooks["tool.execute.before"](tool, { args })
await hooks["shell.env"]({ cwd: "/repo", sessionID: "ses_2", callID: "c1" }, { env })
await hooks["tool.execute.after"]({ ...tool, args }, result)
await bus("message.part.updated", { sessionID: "ses_2", part: begun })
await bus("message.part.updated", { sessionID: "ses_2", part: whole })
await bus("message.part.updated", { sessionID: "ses_2", part: whole }) // reported again: told once
await hooks["tool.execute.before"](undefined, undefined)
await hooks.event({})
await hooks.dispose()

console.log(JSON.stringify({ env, args, hooks: Object.keys(hooks) }))
process.stdin.resume()
