package sockjs

import (
	"bytes"
	"net/http"
)

// The transports that carry messages to the client, by the last segment of
// the URL.

const javascript = "application/javascript; charset=UTF-8"

var (
	xhrFormat = format{contentType: javascript, polling: true, frame: appendLine}

	xhrStreamingFormat = format{
		contentType: javascript,
		// browsers hold back the first 2 KiB
		prelude: append(bytes.Repeat([]byte("h"), 2048), '\n'),
		frame:   appendLine,
	}

	eventSourceFormat = format{
		contentType: "text/event-stream",
		prelude:     []byte("\r\n"),
		frame: func(dst, frame []byte) []byte {
			dst = append(dst, "data: "...)
			// the client library passes it through decodeURI
			dst = appendReplacing(dst, frame, '%', `\u0025`)
			return append(dst, "\r\n\r\n"...)
		},
	}
)

func appendLine(dst, frame []byte) []byte { return append(append(dst, frame...), '\n') }

// appendReplacing appends s with something else instead of each old.
func appendReplacing(dst, s []byte, old byte, replacement string) []byte {
	for {
		i := bytes.IndexByte(s, old)
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(append(dst, s[:i]...), replacement...)
		s = s[i+1:]
	}
}

// jsonpFormat calls a function of the page's with the frame.
func jsonpFormat(callback string) format {
	return format{
		contentType: javascript,
		polling:     true,
		frame: func(dst, frame []byte) []byte {
			// the comment keeps the response from being taken for Flash
			dst = append(dst, "/**/"+callback+"("...)
			dst = appendScriptString(dst, frame)
			return append(dst, ");\r\n"...)
		},
	}
}

// htmlFileFormat is a document of scripts, each of which calls a function of
// the page's with a frame.
func htmlFileFormat(callback string) format {
	head := `<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.` + callback + `;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>`
	// Safari holds back the first 1 KiB
	prelude := append([]byte(head), bytes.Repeat([]byte(" "), max(0, 1024-len(head)))...)
	return format{
		contentType: "text/html; charset=UTF-8",
		prelude:     append(prelude, "\r\n\r\n"...),
		frame: func(dst, frame []byte) []byte {
			dst = append(dst, "<script>\np("...)
			dst = appendScriptString(dst, frame)
			return append(dst, ");\n</script>\r\n"...)
		},
	}
}

// appendScriptString appends a JSON string that is safe inside of a script
// element too: neither "</script>" nor "<!--" may stand there.
func appendScriptString(dst, s []byte) []byte {
	start := len(dst)
	dst = appendString(dst, s)
	return append(dst[:start], bytes.ReplaceAll(dst[start:], []byte("<"), []byte(`\u003c`))...)
}

// callback reads the name of the page's function. The error has been answered
// if there is none.
func callback(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	name = r.URL.Query().Get("c")
	if name == "" {
		name = r.URL.Query().Get("callback")
	}
	switch {
	case name == "":
		serverError(w, `"callback" parameter required`)
	case !validCallback(name):
		serverError(w, `invalid "callback" parameter`)
	default:
		return name, true
	}
	return "", false
}

// validCallback: [a-zA-Z0-9_.-]+, so that it is no script of its own.
func validCallback(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return len(name) <= 64
}
