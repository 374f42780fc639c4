import type { Language } from '../session/preferences.ts';

export type TimeScale = 'seconds' | 'minutes' | 'days';

export interface Format {
  readonly count: (value: number) => string;
  /** 0 to 1. */
  readonly percent: (share: number) => string;
  readonly bytes: (bytes: number) => string;
  readonly rate: (bytesPerSecond: number) => string;
  readonly milliseconds: (ms: number) => string;
  readonly duration: (seconds: number) => string;
  /** How long ago, or in how long. */
  readonly ago: (time: string, nowMs: number) => string;
  /** Date and time to the second. */
  readonly time: (time: string) => string;
  /** Time of day to the second. */
  readonly clock: (time: string) => string;
  /** For an axis: as fine as its steps are. */
  readonly axisTime: (unixMs: number, scale: TimeScale) => string;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

const spans = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
] as const;

/** How a language writes numbers; sizes are powers of 1024 in both. */
export function formatOf(language: Language): Format {
  const locale = language === 'zh' ? 'zh-CN' : 'en-GB';
  const number = new Intl.NumberFormat(locale);
  const decimal = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'short' });
  const dateTime = new Intl.DateTimeFormat(locale, {
    dateStyle: 'medium',
    timeStyle: 'medium',
  });
  const axes = {
    seconds: new Intl.DateTimeFormat(locale, {
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    }),
    minutes: new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }),
    days: new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric' }),
  };
  const timeOfDay = new Intl.DateTimeFormat(locale, { timeStyle: 'medium' });
  const bytes = (value: number): string => {
    const power = value < 1 ? 0 : Math.min(5, Math.floor(Math.log2(value) / 10));
    const scaled = value / 1024 ** power;
    const text = power === 0 || scaled >= 100 ? number.format(Math.round(scaled)) : undefined;
    return `${text ?? decimal.format(scaled)} ${byteUnits[power]}`;
  };
  return {
    count: (value) => number.format(value),
    percent: (share) => percent.format(share),
    bytes,
    rate: (value) => `${bytes(value)}/s`,
    milliseconds: (ms) =>
      ms >= 10_000 ? `${decimal.format(ms / 1000)} s` : `${number.format(Math.round(ms))} ms`,
    duration: (seconds) => durationText(locale, seconds),
    ago: (time, nowMs) => {
      const seconds = (Date.parse(time) - nowMs) / 1000;
      const [unit, size] =
        spans.find(([, length]) => Math.abs(seconds) >= length) ?? (['second', 1] as const);
      return relative.format(Math.round(seconds / size), unit);
    },
    time: (time) => dateTime.format(new Date(time)),
    clock: (time) => timeOfDay.format(new Date(time)),
    axisTime: (unixMs, scale) => axes[scale].format(unixMs),
  };
}

/** The two largest units that it has. */
function durationText(locale: string, seconds: number): string {
  const unitText = (value: number, unit: string): string =>
    new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'narrow' }).format(value);
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [unit, size] of spans) {
    const value = Math.floor(rest / size);
    rest -= value * size;
    if (value > 0) parts.push(unitText(value, unit));
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? unitText(0, 'second') : parts.join(' ');
}
