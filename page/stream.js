// The server ends the stream of answers when nothing is under way, and gradio opens another one with the next event. An
// event that is sent in that moment has its answer in neither: a press stays without effect, or what asks for news every
// two seconds waits for ever. So the stream goes on here for as long as an event has no answer.
(() => {
  const ask = globalThis.fetch;
  const waiting = new Set();
  // What was answered before the server had said under which id it is.
  const early = new Set();

  async function join(...request) {
    const response = await ask(...request);
    const { event_id: id } = await response.clone().json().catch(() => ({}));
    if (id && !early.delete(id)) waiting.add(id);
    // Gradio is to hear of a stream that has just ended before it asks itself whether it needs another one.
    await new Promise((done) => setTimeout(done));
    return response;
  }

  // Hands on all messages of a stream but one that would end it too early; returns whether that has come.
  async function handOn(response, page) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const encoder = new TextEncoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      rest += value;
      if (!value.includes('\n')) continue; // within a long one
      const messages = rest.split('\n\n');
      rest = messages.pop();
      for (const message of messages) {
        const { msg, event_id: id } = JSON.parse(message.replace(/^data: /, ''));
        if (msg === 'process_completed' && !waiting.delete(id)) early.add(id);
        if (msg === 'close_stream' && waiting.size) return true;
        page.enqueue(encoder.encode(`${message}\n\n`));
        if (msg === 'close_stream') return false;
      }
    }
  }

  async function answers(input, init) {
    const open = () => ask(input instanceof Request ? input.clone() : input, init);
    const first = await open();
    if (!first.ok) return first;
    const body = new ReadableStream({
      async start(page) {
        try {
          for (let stream = first; await handOn(stream, page);) stream = await open();
          page.close();
        } catch (error) {
          // Gradio takes all that is under way for lost then.
          waiting.clear();
          page.error(error);
        }
      },
    });
    return new Response(body, first);
  }

  globalThis.fetch = (input, init) => {
    const { pathname } = new URL(input.url ?? input, document.baseURI);
    if (pathname.endsWith('/queue/join')) return join(input, init);
    if (pathname.endsWith('/queue/data')) return answers(input, init);
    return ask(input, init);
  };
})();
