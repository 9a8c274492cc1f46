package presence

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// A resume token is "<session id>.<epoch>.<connected at>.<MAC>": the server need
// not remember it, and it is used up when the session's epoch has passed it.
// Clients can choose ids, so that a later session may have the same one; it is
// not that old. The key is kept in the store, so that tokens outlive the
// process.

// ResumeTokenHeader is the header of CONNECTED that lets a client come back as
// the same session, and of CONNECT in which it does.
const ResumeTokenHeader = "resume-token"

// tokenBytes is the length of the MAC; 128 bits cannot be guessed.
const tokenBytes = 16

func token(key []byte, v *View) string {
	head := v.SessionID + "." + strconv.FormatInt(int64(v.Epoch), 36) + "." + strconv.FormatInt(v.ConnectedAt.UnixMilli(), 36)
	return head + "." + base64.RawURLEncoding.EncodeToString(tokenMAC(key, head, v.User))
}

func tokenMAC(key []byte, head, user string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(head + "\x00" + user))
	return mac.Sum(nil)[:tokenBytes]
}

// resumeToken is what a token says: which session it is for, of which epoch, and
// when that first connected, in Unix milliseconds.
type resumeToken struct {
	session string
	epoch   int
	born    int64
}

// parseToken reads a token if the server has made it, for that user.
func parseToken(key []byte, token, user string) (t resumeToken, ok bool) {
	last := strings.LastIndexByte(token, '.')
	if last < 0 {
		return t, false
	}
	head := token[:last]
	mac, err := base64.RawURLEncoding.Strict().DecodeString(token[last+1:])
	if err != nil || !hmac.Equal(mac, tokenMAC(key, head, user)) {
		return t, false
	}
	var numbers string
	t.session, numbers, _ = strings.Cut(head, ".")
	number, at, _ := strings.Cut(numbers, ".")
	n, err := strconv.ParseInt(number, 36, 32)
	t.epoch = int(n)
	var bornErr error
	t.born, bornErr = strconv.ParseInt(at, 36, 64)
	return t, err == nil && bornErr == nil
}
