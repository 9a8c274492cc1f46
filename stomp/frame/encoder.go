package frame

import "strconv"

// Append appends the encoding of f for a peer of version v, NUL included, and returns the longer slice. The zero version
// encodes as 1.0 does, which is what a peer can read before the negotiation.
//
// A content-length is written for every frame with a body, and for MESSAGE and ERROR always; any in f.Header is ignored, so
// that it is never wrong. The command is written as it is: it must be one of the constants. Append keeps nothing of f,
// and does not allocate if dst has room.
//
// STOMP 1.2, STOMP Frames, Header content-length and Value Encoding.
func Append(dst []byte, v Version, f *Frame) []byte {
	if !v.escapes(f.Command) {
		v = V10
	}
	dst = append(dst, f.Command...)
	dst = append(dst, '\n')
	for i := range f.Header {
		if f.Header[i].Name != HdrContentLength {
			dst = AppendField(dst, v, f.Header[i].Name, f.Header[i].Value)
		}
	}
	if len(f.Body) > 0 || f.Command == Message || f.Command == Error {
		dst = append(dst, HdrContentLength+":"...)
		dst = strconv.AppendInt(dst, int64(len(f.Body)), 10)
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(dst, f.Body...)
	return append(dst, 0)
}

// AppendField appends one header line with its LF, escaped for version v, for frames that are put together from parts.
// CONNECT, STOMP and CONNECTED have no escapes in any version: theirs are written with V10.
//
// What cannot be escaped is replaced by a space, so that no name or value can add a line or end the frame: NUL always, and
// without escapes (1.0 and the zero version) CR and LF, and ':' in names. Nothing is written for an empty name.
//
// STOMP 1.1 and 1.2, Value Encoding.
func AppendField(dst []byte, v Version, name, value string) []byte {
	if name == "" {
		return dst
	}
	inName, inValue := plainName, plainValue
	switch v {
	case V11:
		inName, inValue = escaped11, escaped11
	case V12:
		inName, inValue = escaped12, escaped12
	default: // 1.0 has no escapes
	}
	dst = appendEscaped(dst, name, inName)
	dst = append(dst, ':')
	dst = appendEscaped(dst, value, inValue)
	return append(dst, '\n')
}
