import { chromium, type Page } from 'playwright-core';
import { findProgram } from './program.ts';

/** A tab of Chromium, with everything that it complained about and every host that it asked. */
export interface Tab extends AsyncDisposable {
  readonly page: Page;
  /** Errors and warnings of the console, exceptions, requests that failed. */
  readonly complaints: readonly string[];
  /** `host:port` of each request. */
  readonly hosts: ReadonlySet<string>;
}

export interface TabOptions {
  /** The language of the browser; `en-GB` unless told. */
  readonly locale?: string;
  readonly widthPx?: number;
  readonly colorScheme?: 'light' | 'dark';
}

/** Opens Debian's Chromium, in which no name resolves: nothing but loopback can be reached. */
export async function openTab(options: TabOptions = {}): Promise<Tab> {
  const browser = await chromium.launch({
    executablePath: findProgram('chromium') ?? 'chromium',
    args: [
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      // As root, as in CI, Chromium starts only so.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });
  const context = await browser.newContext({
    locale: options.locale ?? 'en-GB',
    viewport: { width: options.widthPx ?? 1280, height: 900 },
    colorScheme: options.colorScheme ?? 'light',
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  const hosts = new Set<string>();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:') hosts.add(host);
  });
  return {
    page,
    complaints,
    hosts,
    [Symbol.asyncDispose]: () => browser.close(),
  };
}
