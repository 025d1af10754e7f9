// The texts of the page in Chinese; en.js has the same keys.

export const texts = {
  title: "把歌曲拆成分轨",
  about: "本服务把一首歌拆成多条分轨，例如人声和伴奏。程序把歌曲发给它，它返回一个任务，并在分轨完成后发出通知。",
  send: "发送一首歌",
  documentation: "文档",
  docs: "阅读文档",
  openapi: "OpenAPI 文档",
  health: "服务是否正常？",
};
