/** The scripted registry in a process of its own, so that it shares no event loop with a client. */
import { makeBlob, makeImage } from '../kit/images.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { answerParent } from './child.ts';

export type UpstreamQuestion =
  | { readonly do: 'start'; readonly rateBytesPerSecond?: number; readonly latencyMs?: number }
  | {
      readonly do: 'addBlob';
      readonly repository: string;
      readonly seed: string;
      readonly sizeBytes: number;
    }
  | { readonly do: 'addImage'; readonly repository: string; readonly tag: string }
  | { readonly do: 'remove'; readonly repository: string; readonly digest: string }
  | { readonly do: 'bytesSent'; readonly digest: string };

/** Which of them an answer has depends on what was asked. */
export interface UpstreamReply {
  readonly url?: string;
  readonly digest?: string;
  readonly mediaType?: string;
  readonly sizeBytes?: number;
}

let registry: ScriptedRegistry | undefined;

async function answer(question: UpstreamQuestion): Promise<UpstreamReply> {
  if (question.do === 'start') {
    const { do: _, ...options } = question;
    registry = await startScriptedRegistry(options);
    return { url: registry.url };
  }
  if (registry === undefined) throw new Error('it has not been started');
  switch (question.do) {
    case 'addBlob': {
      const blob = makeBlob(question.seed, question.sizeBytes);
      registry.addBlob(question.repository, blob);
      return { digest: blob.digest };
    }
    case 'addImage': {
      const image = makeImage({ seed: 'bench', layers: [1000, 2000, 3000, 4000, 5000] });
      registry.add(question.repository, image, question.tag);
      return { digest: image.manifest.digest, mediaType: image.manifest.mediaType };
    }
    case 'remove':
      registry.remove(question.repository, question.digest);
      return {};
    case 'bytesSent':
      return { sizeBytes: registry.bytesSent(question.digest) };
  }
}

answerParent(answer);
