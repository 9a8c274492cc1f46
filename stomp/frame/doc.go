// Package frame is the codec of STOMP frames, for the versions 1.0, 1.1 and 1.2 of the protocol.
//
// [Decoder] takes the bytes of a connection in whatever pieces they come and hands out whole frames; [Append] writes a
// frame. Both know what differs between the versions: how lines end and which escapes headers have.
//
// What the decoder guarantees:
//
//   - The same stream gives the same frames and the same error, wherever it is cut.
//   - Nothing grows beyond the [Limits], and nothing is allocated because a number on the wire asks for it: a
//     content-length is held against the frame limit as soon as the head is read, and memory grows with the bytes that came.
//   - The work is linear in the bytes that came, also when they come one at a time.
//   - Between frames it holds no memory but itself.
//   - Header names are not empty; names and values are valid UTF-8 without NUL, so that a frame of which the body is UTF-8
//     can go into a WebSocket text message.
//
// What it leaves to the session: whether the command is known and allowed now, whether it may have a body, which headers it
// needs, and what bytes between frames mean for the heart-beat.
//
// Where the specifications leave a choice:
//
//   - Values are never trimmed. The examples of STOMP 1.0 show "login: name"; the space is part of the value, as 1.1 and 1.2
//     say it is.
//   - A raw ':' in a value is accepted in every version, although the grammars of 1.1 and 1.2 want it escaped: many clients
//     send destinations with one.
//   - Headers are UTF-8 in 1.0 too, which does not name an encoding.
//   - Before a version is negotiated lines may end in CR LF, because the CONNECT frame of a 1.2 client may.
//
// See https://stomp.github.io/stomp-specification-1.2.html, and -1.1 and -1.0.
package frame
