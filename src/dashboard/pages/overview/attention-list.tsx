import { Panel } from '../../parts/panel.tsx';
import { useFormat, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';
import type { Text } from '../../text/english.ts';
import type { Format } from '../../text/format.ts';
import { recentMinutes, type Attention } from './attention.ts';

interface Said {
  readonly what: string;
  readonly detail?: string | undefined;
  /** Where one sees more of it. */
  readonly link?: string;
}

/** What is wrong now, said first. */
export function AttentionList({ items }: { readonly items: readonly Attention[] }) {
  const text = useText();
  const format = useFormat();
  return (
    <Panel title={text.attention.title} class="attention">
      {/* The list itself says how long ago: read aloud each second it would be a torment. */}
      <p class="unseen" role="status">
        {items.length === 0 ? '' : text.attention.count(format.count(items.length))}
      </p>
      <div>
        {items.length === 0 ? (
          <p class="well">
            <span aria-hidden="true">✓</span> {text.attention.well}
          </p>
        ) : (
          <ul>
            {items.map((item) => (
              <Item key={keyOf(item)} item={item} said={sayItem(item, text, format)} />
            ))}
          </ul>
        )}
      </div>
    </Panel>
  );
}

function Item({ item, said }: { readonly item: Attention; readonly said: Said }) {
  const text = useText().attention;
  return (
    <li class={item.severity}>
      <span class="sign" role="img" aria-label={text[item.severity]}>
        {item.severity === 'critical' ? '■' : '▲'}
      </span>
      <div>
        {said.what} {said.link !== undefined && <a href={said.link}>{text.look}</a>}
        {said.detail !== undefined && <p class="detail">{said.detail}</p>}
      </div>
    </li>
  );
}

function keyOf(item: Attention): string {
  switch (item.kind) {
    case 'upstream-down':
      return `${item.kind} ${item.upstream.name}`;
    case 'paused':
      return `${item.kind} ${item.upstream} ${item.pause.scope}`;
    case 'quota':
      return `${item.kind} ${item.upstream} ${item.quota.account} ${item.quota.source}`;
    case 'run':
      return `${item.kind} ${item.run.id}`;
    case 'sync':
      return `${item.kind} ${item.rule.name}`;
    case 'not-ready':
      return `${item.kind} ${item.reason}`;
    case 'disk-low':
    case 'errors':
    case 'stale':
      return item.kind;
  }
}

function sayItem(item: Attention, { attention: text }: Text, format: Format): Said {
  const nowMs = Date.now();
  const minutes = format.count(recentMinutes);
  switch (item.kind) {
    case 'not-ready':
      return { what: text.notReady(item.reason) };
    case 'upstream-down': {
      const { name, lastError } = item.upstream;
      const detail =
        lastError === null
          ? undefined
          : text.upstreamDownDetail(lastError.message, format.ago(lastError.at, nowMs));
      return { what: text.upstreamDown(name), detail, link: linkTo('upstreams') };
    }
    case 'paused': {
      const { scope, secondsLeft } = item.pause;
      const what = text.paused(item.upstream, text.scopes[scope], format.duration(secondsLeft));
      return { what, link: linkTo('upstreams') };
    }
    case 'quota': {
      const { account, limit, remaining } = item.quota;
      const what =
        remaining === 0
          ? text.quotaSpent(item.upstream, account)
          : text.quotaLow(item.upstream, account, format.count(remaining), format.count(limit));
      return { what, link: linkTo('upstreams') };
    }
    case 'disk-low':
      return { what: text.diskLow(format.bytes(item.freeBytes), format.percent(item.share)) };
    case 'run': {
      const { id, job, state, endedAt, errors } = item.run;
      const ago = format.ago(endedAt ?? '', nowMs);
      const what =
        state === 'failed'
          ? text.runFailed(job, ago)
          : text.runPartial(job, format.count(errors.length), ago);
      return { what, detail: errors[0]?.message, link: linkTo('jobs', id) };
    }
    case 'sync': {
      const { name, state, lagChanges, lagSeconds, lastError } = item.rule;
      const what =
        state === 'failing'
          ? text.syncFailing(name)
          : text.syncBehind(name, format.count(lagChanges ?? 0), format.duration(lagSeconds ?? 0));
      return { what, detail: lastError ?? undefined, link: linkTo('sites') };
    }
    case 'errors':
      return { what: text.errorRate(format.percent(item.share), minutes) };
    case 'stale':
      return { what: text.stale(format.count(item.count), minutes), link: linkTo('upstreams') };
  }
}
