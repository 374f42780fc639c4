import { useSignal } from '@preact/signals';
import type { Manifest, ManifestPart } from '../../../api/content.ts';
import { Badge } from '../../parts/badge.tsx';
import { ShortDigest } from '../../parts/digest.tsx';
import { Loaded } from '../../parts/loaded.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table, type Column } from '../../parts/table.tsx';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import { useResource } from '../../session/resource.ts';
import { linkTo } from '../../session/route.ts';
import { PurgeDialog } from './purge-dialog.tsx';

/** A manifest: the images of an index, or config and layers of an image, with sizes and platforms. */
export function ManifestPage(props: { readonly name: string; readonly digest: string }) {
  const { name, digest } = props;
  const { api } = useSession();
  const { content: text } = useText();
  const isPurging = useSignal(false);
  const manifest = useResource(digest, (signal) =>
    api.get<Manifest>(`manifests/${encodeURIComponent(digest)}`, { signal }),
  );
  return (
    <>
      <PageTitle aside={<a href={linkTo('content', name)}>{name}</a>}>
        {text.manifest} <ShortDigest digest={digest} />
      </PageTitle>
      <Loaded of={manifest}>
        {(value) => (
          <>
            <ManifestFacts
              manifest={value}
              purge={() => {
                isPurging.value = true;
              }}
            />
            {value.manifests.length > 0 && (
              <PartsPanel title={text.platforms} parts={value.manifests} linkOf={name} />
            )}
            {value.blobs.length > 0 && <PartsPanel title={text.layers} parts={value.blobs} />}
          </>
        )}
      </Loaded>
      {isPurging.value && (
        <PurgeDialog
          reference={`${name}@${digest}`}
          closed={() => {
            isPurging.value = false;
            manifest.refresh();
          }}
        />
      )}
    </>
  );
}

function ManifestFacts(props: { readonly manifest: Manifest; readonly purge: () => void }) {
  const { content: text, common } = useText();
  const format = useFormat();
  const { digest, mediaType, kind, sizeBytes, totalBytes, isComplete } = props.manifest;
  return (
    <Panel
      title={text.kinds[kind]}
      aside={
        <button type="button" onClick={props.purge}>
          {text.purge}
        </button>
      }
    >
      <dl class="facts">
        <div>
          <dt>{common.digest}</dt>
          <dd>
            <code class="long">{digest}</code>
          </dd>
        </div>
        <div>
          <dt>{text.mediaType}</dt>
          <dd>
            <code class="long">{mediaType}</code>
          </dd>
        </div>
        <div>
          <dt>{text.manifest}</dt>
          <dd>{format.bytes(sizeBytes)}</dd>
        </div>
        <div>
          <dt>{text.total}</dt>
          <dd>{format.bytes(totalBytes)}</dd>
        </div>
        <div>
          <dt>{common.state}</dt>
          <dd>
            <Badge tone={isComplete ? 'good' : 'calm'}>
              {isComplete ? text.complete : text.incomplete}
            </Badge>
          </dd>
        </div>
      </dl>
    </Panel>
  );
}

function PartsPanel(props: {
  readonly title: string;
  readonly parts: readonly ManifestPart[];
  /** The repository through which the parts are opened, when they are manifests. */
  readonly linkOf?: string;
}) {
  const { title, parts, linkOf } = props;
  const { content: text, common } = useText();
  const format = useFormat();
  const columns: Column<ManifestPart>[] = [
    {
      title: common.digest,
      isHead: true,
      cell: ({ digest, isCached }) =>
        linkOf !== undefined && isCached ? (
          <a href={linkTo('content', linkOf, digest)} aria-label={text.openManifest(digest)}>
            <ShortDigest digest={digest} />
          </a>
        ) : (
          <ShortDigest digest={digest} />
        ),
    },
    ...(linkOf === undefined
      ? []
      : [
          {
            title: text.platform,
            cell: ({ platform }: ManifestPart) =>
              platform === undefined
                ? '–'
                : [platform.os, platform.architecture, platform.variant]
                    .filter((part) => part !== undefined)
                    .join('/'),
          },
        ]),
    { title: common.size, isNumber: true, cell: ({ sizeBytes }) => format.bytes(sizeBytes) },
    {
      title: common.state,
      cell: ({ isCached }) => (
        <Badge tone={isCached ? 'good' : 'calm'}>{isCached ? text.cached : text.notCached}</Badge>
      ),
    },
    { title: text.mediaType, cell: ({ mediaType }) => <code class="long">{mediaType}</code> },
  ];
  return (
    <Panel title={title}>
      <Table
        caption={title}
        columns={columns}
        rows={parts}
        // An image may name the same layer twice.
        rowKey={({ digest }, at) => `${at} ${digest}`}
      />
    </Panel>
  );
}
