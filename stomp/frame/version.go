package frame

// Version is a version of the protocol. Its zero value means that none is negotiated yet.
//
// STOMP 1.2, Protocol Negotiation.
type Version uint8

// The versions of STOMP, in order: a greater one is a later one.
const (
	V10 Version = 1 + iota
	V11
	V12
)

// String returns the version as the headers accept-version and version carry it, "1.2" for instance, and "" for the zero
// value.
func (v Version) String() string {
	switch v {
	case V10:
		return "1.0"
	case V11:
		return "1.1"
	case V12:
		return "1.2"
	}
	return ""
}

// ParseVersion is the reverse of [Version.String]. It reports false for anything but "1.0", "1.1" and "1.2".
func ParseVersion(s string) (Version, bool) {
	switch s {
	case "1.0":
		return V10, true
	case "1.1":
		return V11, true
	case "1.2":
		return V12, true
	}
	return 0, false
}

// crlf reports whether a CR before a LF belongs to the end of the line. STOMP 1.2, Changes in the Protocol.
func (v Version) crlf() bool { return v == 0 || v == V12 }

// escapes reports whether the headers of a frame with this command have escapes in this version. CONNECT and CONNECTED have
// none in any version, as they are read before the version is known. STOMP 1.2, Value Encoding.
func (v Version) escapes(command string) bool {
	switch command {
	case Connect, Stomp, Connected:
		return false
	}
	return v >= V11
}
