// Tells DevTrace what opencode was told, said and did. It changes nothing and waits for nothing.
// `devtrace agent install opencode` wrote this file, `devtrace agent uninstall opencode` takes it away.

import { spawn } from "node:child_process"
import { existsSync } from "node:fs"

const COMMANDS = {} // the command line of each event
const SCRIPT = "" // when it is gone nothing is told

export const DevTrace = async ({ directory }) => {
  const parents = new Map() // the session that started a subagent's, by the subagent's
  const prompts = new Map() // {turn, model} of a session's last prompt
  const answers = new Map() // {turn, model} of an assistant's message
  const told = new Set() // parts, which are reported again and again
  const begun = new Map() // when the beginning of a call has been taken

  // Resolves when it has been taken, or was not.
  const tell = (event, session, where, payload, after) => {
    if (!COMMANDS[event] || !session || !existsSync(SCRIPT)) return
    let root = session
    for (let up = 0; parents.has(root) && up < 32; up++) root = parents.get(root)
    const own = { session_id: root, cwd: directory, at_ms: Date.now(), ...where }
    if (root !== session) own.subagent = session
    const text = JSON.stringify({ ...payload, ...own })
    return after ? after.then(() => give(event, text)) : give(event, text)
  }

  const give = (event, text) =>
    new Promise((taken) => {
      const child = spawn("/bin/sh", ["-c", `exec ${COMMANDS[event]}`], {
        detached: true,
        stdio: ["pipe", "ignore", "ignore"],
      })
      child.on("error", taken)
      child.on("exit", taken)
      child.stdin.on("error", () => {})
      child.stdin.end(text)
      child.unref()
    }).catch(() => {})

  const named = (model) =>
    model?.providerID && model?.modelID ? `${model.providerID}/${model.modelID}` : undefined

  const onPrompt = (input, output) => {
    const turn = output?.message?.id ?? input.messageID
    const where = { turn, model: named(input.model) ?? named(output?.message?.model) }
    prompts.set(input.sessionID, where)
    const parts = (output?.parts ?? []).filter((part) => part.type === "text")
    tell("chat.message", input.sessionID, where, { hook: "chat.message", input, output: { parts } })
  }

  // A quick tool is over before the hook of its beginning is: that one goes first.
  const onTool = (hook, input, output) => {
    const where = prompts.get(input.sessionID)
    const after = begun.get(input.callID)
    const taken = tell(hook, input.sessionID, where, { hook, input, output: brief(output) }, after)
    if (hook === "tool.execute.before") begun.set(input.callID, taken)
    else begun.delete(input.callID)
  }

  // A result without what a hook has no use for: diffs, whole files, images.
  const brief = (output) => {
    const { title, output: text, args, isError } = output ?? {}
    const content = output?.content?.filter?.((block) => block?.type === "text")
    const plain = Object.entries(output?.metadata ?? {}).filter(([name, value]) => isPlain(name, value))
    return { title, output: text, args, isError, content, metadata: Object.fromEntries(plain) }
  }

  const isPlain = (name, value) => name !== "output" && (typeof value !== "object" || value === null)

  const onEvent = (event) => {
    const { type, properties } = event
    const { info, part } = properties ?? {}
    if (type === "session.created" && info?.parentID) parents.set(info.id, info.parentID)
    if (type === "message.updated" && info?.role === "assistant") {
      answers.set(info.id, { turn: info.parentID, model: named(info) })
    }
    if (type === "message.part.updated" && !isWorthTelling(part)) return
    const session = properties?.sessionID ?? info?.id ?? part?.sessionID
    const where = answers.get(part?.messageID) ?? prompts.get(session)
    tell(type, session, where, { hook: "event", input: event }, begun.get(part?.callID))
    begun.delete(part?.callID)
  }

  // What the assistant said, once it is whole, and the tools whose end no other hook tells: those that threw.
  const isWorthTelling = (part) => {
    const isSaid = part?.type === "text" && part.time?.end && answers.has(part.messageID)
    const isThrown = part?.type === "tool" && part.state?.status === "error"
    if ((!isSaid && !isThrown) || told.has(part.id)) return false
    told.add(part.id)
    return true
  }

  const silently =
    (hook) =>
    async (...given) => {
      try {
        hook(...given)
      } catch {
        // a guest: when this fails, the agent must not notice
      }
    }

  return {
    event: silently(({ event }) => onEvent(event)),
    "chat.message": silently(onPrompt),
    "tool.execute.before": silently((input, output) => onTool("tool.execute.before", input, output)),
    "tool.execute.after": silently((input, output) => onTool("tool.execute.after", input, output)),
    dispose: silently(() => {
      for (const session of prompts.keys()) {
        if (!parents.has(session)) tell("dispose", session, {}, { hook: "dispose", input: { sessionID: session } })
      }
    }),
    "shell.env": silently((input, output) => {
      if (input.callID && existsSync(SCRIPT)) output.env.DEVTRACE_CALL = input.callID
    }),
  }
}
