import { useSignal } from '@preact/signals';
import type { ClientConfig } from '../../api/clients.ts';
import { Choice } from '../parts/choice.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageTitle } from '../parts/page-title.tsx';
import { Panel } from '../parts/panel.tsx';
import { Snippet } from '../parts/snippet.tsx';
import { useSession, useText } from '../session/context.tsx';
import { useResource } from '../session/resource.ts';

const clients = ['docker', 'containerd', 'podman', 'crio', 'buildkit', 'k3s'] as const;

type Client = (typeof clients)[number];

/** The files that make clients pull through this mirror, ready to be copied. */
export function SetUpPage() {
  const { api } = useSession();
  const text = useText().setUp;
  const client = useSignal<Client>('docker');
  const address = useSignal<string | undefined>(undefined);
  const config = useResource(`${client.value} ${address.value}`, (signal) =>
    api.get<ClientConfig>(`client-config/${client.value}`, {
      query: { mirror: address.value },
      signal,
    }),
  );
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      <p>{text.explain}</p>
      <Choice
        label={text.client}
        options={clients}
        names={text.clients}
        value={client.value}
        choose={(chosen) => {
          client.value = chosen;
        }}
      />
      <Loaded of={config}>
        {({ mirror, files }) => (
          <>
            <AddressForm
              address={mirror}
              choose={(chosen) => {
                address.value = chosen;
              }}
            />
            {files.map(({ path, text: content, afterwards }) => (
              <Panel key={path} title={path}>
                <Snippet text={content} label={path} />
                <p class="afterwards">
                  {text.afterwards}: <code>{afterwards}</code>
                </p>
              </Panel>
            ))}
          </>
        )}
      </Loaded>
    </>
  );
}

function AddressForm(props: {
  readonly address: string;
  readonly choose: (address: string) => void;
}) {
  const text = useText().setUp;
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        const address = new FormData(event.currentTarget).get('address');
        if (typeof address === 'string') props.choose(address);
      }}
    >
      <label class="field">
        <span>{text.address}</span>
        <input type="url" name="address" required defaultValue={props.address} size={36} />
      </label>
      <button type="submit">{text.apply}</button>
      {/^https?:\/\/(127\.|localhost|\[::1\])/.test(props.address) && (
        <p class="notice warn">{text.loopback}</p>
      )}
    </form>
  );
}
