import type { Stats } from '../../../api/stats.ts';
import { Meter } from '../../parts/meter.tsx';
import { Panel } from '../../parts/panel.tsx';
import { useFormat, useText } from '../../session/context.tsx';

/** How much of the budget is taken, and what the file system has left. */
export function DiskPanel({ stats }: { readonly stats: Stats }) {
  const text = useText().overview;
  const format = useFormat();
  const { disk, evictions } = stats;
  const taken = disk.usedBytes + disk.reservedBytes;
  // Without a budget, the free space is the limit.
  const max = disk.maxBytes === 0 ? taken + disk.freeBytes : disk.maxBytes;
  const said =
    disk.maxBytes === 0
      ? text.diskNoBudget(format.bytes(taken))
      : text.diskBudget(format.bytes(taken), format.bytes(disk.maxBytes));
  return (
    <Panel
      title={text.disk}
      aside={<span class="aside">{text.blobs(format.count(disk.blobs))}</span>}
    >
      <p>{said}</p>
      <Meter
        label={text.disk}
        valueText={said}
        max={max}
        shares={[
          { value: disk.usedBytes, tone: 'main' },
          { value: disk.reservedBytes, tone: 'second' },
        ]}
      />
      <ul class="keys">
        <li>
          <span class="ink ink-main" aria-hidden="true">
            ■
          </span>{' '}
          {text.diskUsed} {format.bytes(disk.usedBytes)}
        </li>
        <li>
          <span class="ink ink-second" aria-hidden="true">
            ■
          </span>{' '}
          {text.diskReserved} {format.bytes(disk.reservedBytes)}
        </li>
        <li>
          {text.diskRest} {format.bytes(Math.max(0, max - taken))}
        </li>
      </ul>
      <p class="detail">
        {text.diskFree(format.bytes(disk.freeBytes), format.bytes(disk.totalBytes))}
      </p>
      {!disk.isCounted && <p class="detail">{text.diskCounting}</p>}
      {evictions.blobs > 0 && (
        <p class="detail">
          {text.evicted(format.count(evictions.blobs), format.bytes(evictions.bytes))}
        </p>
      )}
    </Panel>
  );
}
