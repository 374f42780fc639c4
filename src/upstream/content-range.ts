/** `bytes 0-99/1234` or `bytes 0-99/*`; undefined when it is anything else. RFC 9110, 14.4. */
export function parseContentRange(
  text: string | undefined,
): { start: number; end: number; sizeBytes: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(text ?? '');
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  const sizeBytes = match[3] === '*' ? undefined : Number(match[3]);
  if (end <= start || (sizeBytes !== undefined && end > sizeBytes)) return undefined;
  return { start, end, sizeBytes };
}
