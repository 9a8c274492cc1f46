// What a page does that copies presence.js and uses @stomp/stompjs; in node too. Keeps what it was told.

export function keep({ Client, Presence, clientData, will, rooms = [], storage, ...options }) {
  const presence = new Presence({ clientData, will, storage });
  const client = new Client({
    heartbeatIncoming: 1000,
    heartbeatOutgoing: 1000,
    reconnectDelay: 200,
    ...options,
    beforeConnect: () => {
      client.connectHeaders = presence.connectHeaders();
    },
    onConnect: (frame) => {
      presence.connected(client, frame.headers);
      sessions.push(presence.sessionId);
    },
    onStompError: (frame) => errors.push(frame.headers.message),
    onWebSocketClose: () => presence.disconnected(),
  });
  const sessions = []; // of each CONNECTED
  const errors = []; // what each ERROR said
  const rosters = { '': presence };
  for (const room of rooms) rosters[room] = presence.room(room).join();
  const told = []; // [room, type, sessionId, reason, userSessions]
  for (const [room, roster] of Object.entries(rosters)) {
    roster.addEventListener('change', ({ detail: { change, userSessions } }) => {
      told.push({ room, type: change.type, sessionId: change.sessionId, reason: change.reason, userSessions });
    });
  }
  client.activate();
  return {
    client,
    presence,
    rosters,
    sessions,
    errors,
    told,
    /** What a roster shows, comparable. */
    picture: (room = '') =>
      [...rosters[room].sessions.values()]
        .map(({ sessionId, clientData, user, unreachable }) => JSON.stringify([sessionId, clientData, user, unreachable]))
        .sort(),
    live: () => Object.values(rosters).every((roster) => roster.live),
  };
}
