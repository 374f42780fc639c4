export interface ServerEvent {
  readonly event: string;
  /** JSON as it came. */
  readonly data: string;
}

/**
 * Reads server-sent events (HTML standard, 9.2.6) off a body. EventSource does the same but cannot
 * send a token.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  tell: (event: ServerEvent) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event !== undefined) tell(event);
      }
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}

/** One block of lines; undefined for a comment. */
export function parseEvent(block: string): ServerEvent | undefined {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') event = value ?? event;
    if (field === 'data') data.push(value ?? '');
  }
  return data.length === 0 ? undefined : { event, data: data.join('\n') };
}
