/** One thing that was looked at to see whether the mirror can do its work. */
export interface Finding {
  /** What was looked at: `disk`, `space`, `clock`, `dns`, `tls`, `api`, `token`, `head`, `quota`, … */
  readonly check: string;
  /** Of what: a folder, the name of a registry, a URL of one. */
  readonly subject: string;
  /** `warning`: it works, and may not do so for long. `skipped`: it was not looked at. */
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was seen, or why it was not looked at. */
  readonly seen: string;
  /** What a person can do about it. */
  readonly mend?: string | undefined;
}
