/** What a fill decides, apart from how it does it. Sizes in bytes, rates in bytes a second. */

/** A transfer that the connections it has end sooner than this is left to them. */
const worthwhileMs = 1_000;

/**
 * Connections this fast together are fast enough: more would only be cut on the way, and what is in
 * flight then crosses the link for nothing.
 */
const fastRate = 64 * 1024 * 1024;

/** With its event loop this busy the mirror is the slow one, not the link. */
const busyShare = 0.7;

/** A waiting reader whose bytes come sooner than this waits for the connection that brings them. */
const patienceMs = 150;

/** What a transfer that broke must have brought for the next one not to count as a repetition. */
const progressBytes = 64 * 1024;

/** A blob this small is fetched to its end although everybody left. */
const smallBytes = 16 * 1024 * 1024;

/**
 * Whether more connections would shorten a transfer.
 * @param loopShare how much of the time since it began the event loop was busy, 0 … 1
 */
export function paysToWiden(rate: number, restBytes: number, loopShare: number): boolean {
  return rate < fastRate && (restBytes / rate) * 1000 >= worthwhileMs && loopShare < busyShare;
}

/** Whether a reader that waits `distanceBytes` ahead of a connection should get one of its own. */
export function isTooFarAhead(distanceBytes: number, rate: number): boolean {
  return (distanceBytes / rate) * 1000 >= patienceMs;
}

/** A little for a small blob, more for a large one: crumbs do not keep a broken upstream alive. */
export function isProgress(bytes: number, sizeBytes: number): boolean {
  return bytes > 0 && bytes >= Math.min(progressBytes, sizeBytes / 100);
}

/** Whether a fill that nobody waits for any more goes on: it is small, or past half. */
export function isWorthEnding(filledBytes: number, sizeBytes: number): boolean {
  return sizeBytes <= smallBytes || filledBytes * 2 >= sizeBytes;
}
