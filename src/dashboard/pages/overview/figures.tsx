import type { Stats } from '../../../api/stats.ts';
import { useFormat, useText } from '../../session/context.tsx';

/** The handful of numbers that say what the mirror is good for. */
export function Figures({ stats }: { readonly stats: Stats }) {
  const { overview: text } = useText();
  const format = useFormat();
  const { hitRatio, bytes, requests } = stats;
  const figures = [
    [
      text.hitRatio,
      hitRatio === null ? '–' : format.percent(hitRatio),
      hitRatio === null ? text.noRequests : text.hitRatioHint(format.count(requests.total)),
    ],
    [text.saved, format.bytes(bytes.saved), text.savedHint],
    [text.served, format.bytes(bytes.served), text.servedHint],
    [text.fetched, format.bytes(bytes.fetched), text.fetchedHint],
    [text.quotaSaved, format.count(stats.quotaRequestsSaved), text.quotaSavedHint],
  ] as const;
  return (
    <section aria-label={text.figures}>
      <p class="since">{text.since(format.ago(stats.startedAt, Date.now()))}</p>
      <dl class="figures">
        {figures.map(([label, value, hint]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>
              <strong>{value}</strong>
              <small>{hint}</small>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
