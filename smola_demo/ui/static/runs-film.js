// The routing while the answer forms, as a WebM film: one frame a token, drawn like the card.
const FRAME_MS = 450;
const FILM_TYPE = ["video/webm;codecs=vp9", "video/webm"].find((type) => window.MediaRecorder?.isTypeSupported(type));
const canFilm = () => Boolean(FILM_TYPE && HTMLCanvasElement.prototype.captureStream);

// Frames of a run: the answer so far, and the maps of the token that was read last (of the prompt at first).
const framesOf = ({ record, routing }) => {
  const { tokens } = record.answer;
  const answered = range(routing.T).filter((t) => routing.phase[t] === 1);
  const prompt = (g) => ["prompt", routing.rowsOf(g, "prompt")];
  return tokens.map((_, k) => ({
    text: tokens.slice(0, k + 1).map(({ text }) => (smola.control(text) ? "" : text)).join("").trim(),
    maps: mapsOf(routing, (g) => {
      const row = answered[k - 1];
      return k && routing.serves[g][row] ? [`after token ${k}`, [row]] : prompt(g);
    }),
  }));
};

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A WebM Blob. step(k, n) is called before each frame.
const filmOf = async (record, step) => {
  const made = await ready(record);
  const canvas = canvasOf();
  const pen = canvas.getContext("2d");
  const frames = framesOf(made);
  const reach = Math.max(...frames.map(({ maps }) => reachOf(maps)));
  const parts = [];
  const recorder = new MediaRecorder(canvas.captureStream(10), { mimeType: FILM_TYPE });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  drawCard(pen, made, frames[0].text, frames[0].maps, reach);
  recorder.start();
  for (const [k, { text, maps }] of frames.entries()) {
    step(k + 1, frames.length);
    drawCard(pen, made, text, maps, reach);
    await wait(FRAME_MS);
  }
  await wait(2 * FRAME_MS); // the whole answer stays a little
  recorder.stop();
  await stopped;
  return new Blob(parts, { type: "video/webm" });
};
