package sockjs_test

import (
	"strings"
	"testing"
)

const form = "Content-Type: application/x-www-form-urlencoded"

var xhrChecks = map[string]func(*server){
	"test_options": func(s *server) {
		for _, suffix := range []string{"/xhr", "/xhr_send"} {
			s.options("/echo/abc/abc"+suffix, "OPTIONS, POST")
		}
	},
	"test_transport": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "", "Origin: test").says("o\n").has("Content-Type", javascript).allows("test").notCached()
		s.post(path+"/xhr_send", `["x"]`, "Origin: test").taken().has("Content-Type", "text/plain; charset=UTF-8").allows("test").notCached()
		s.post(path+"/xhr", "").says("a[\"x\"]\n")
	},
	"test_invalid_session": func(s *server) { s.post(session("/echo")+"/xhr_send", `["x"]`).is(404) },
	"test_invalid_json": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		s.post(path+"/xhr_send", `["x`).is(500).mentions("Broken JSON encoding.")
		s.post(path+"/xhr_send", "").is(500).mentions("Payload expected.")
		s.post(path+"/xhr_send", `["a"]`).taken()
		s.post(path+"/xhr", "").says("a[\"a\"]\n")
	},
	"test_content_types": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		types := []string{
			"text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8",
			"text/xml; charset=utf-8", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data",
		}
		for _, kind := range types {
			s.post(path+"/xhr_send", `["a"]`, "Content-Type: "+kind).taken()
		}
		s.post(path+"/xhr", "").says("a[" + strings.TrimSuffix(strings.Repeat(`"a",`, len(types)), ",") + "]\n")
	},
	"test_request_headers_cors": func(s *server) {
		path := session("/echo") + "/xhr"
		const ask, allow = "Access-Control-Request-Headers", "Access-Control-Allow-Headers"
		s.do("OPTIONS", path, "", "Origin: test", ask+": a, b, c").taken().allows("test").has(allow, "a, b, c")
		s.do("OPTIONS", path, "", "Origin: test", ask+": ").taken().allows("test").has(allow, "")
		s.do("OPTIONS", path, "", "Origin: test").taken().allows("test").has(allow, "")
		s.post(path, "", "Origin: test", ask+": a, b, c").says("o\n").allows("test").has(allow, "a, b, c") // 0.3.3
	},
	"test_sending_empty_frame": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		s.post(path+"/xhr_send", "[]").taken()
		s.post(path+"/xhr_send", `["a"]`).taken()
		s.post(path+"/xhr", "").says("a[\"a\"]\n")
	},
}

var xhrStreamingChecks = map[string]func(*server){
	"test_options": func(s *server) { s.options("/echo/abc/abc/xhr_streaming", "OPTIONS, POST") },
	"test_transport": func(s *server) {
		path := session("/echo")
		st := s.stream("POST", path+"/xhr_streaming", "Origin: test")
		checkHeader(s.t, st.Header, "Content-Type", javascript)
		checkCORS(s.t, st.Header, "test")
		st.expect(strings.Repeat("h", 2048) + "\n")
		st.expect("o\n")
		s.post(path+"/xhr_send", `["x"]`).taken()
		st.expect("a[\"x\"]\n")
	},
	"test_response_limit": func(s *server) {
		path := session("/echo")
		st := s.xhrStreaming(path)
		st.expect("o\n")
		message := `["` + strings.Repeat("x", 128) + `"]`
		for range 31 {
			s.post(path+"/xhr_send", message).taken()
			st.expect("a" + message + "\n")
		}
		st.expectEnd()
		s.post(path+"/xhr_send", `["next"]`).taken()
		s.xhrStreaming(path).expect("a[\"next\"]\n")
	},
}

var eventSourceChecks = map[string]func(*server){
	"test_transport": func(s *server) {
		path := session("/echo")
		st := s.stream("GET", path+"/eventsource")
		checkHeader(s.t, st.Header, "Content-Type", "text/event-stream")
		st.expect("\r\n")
		st.expect("data: o\r\n\r\n")
		s.post(path+"/xhr_send", `["x"]`).taken()
		st.expect("data: a[\"x\"]\r\n\r\n")
		s.post(path+"/xhr_send", `["  \u0000\n\r "]`).taken()
		st.expect(`data: a["  \u0000\n\u000d "]` + "\r\n\r\n")
	},
	"test_response_limit": func(s *server) {
		path := session("/echo")
		st := s.stream("GET", path+"/eventsource")
		st.expect("\r\ndata: o\r\n\r\n")
		message := `["` + strings.Repeat("x", 4096) + `"]`
		s.post(path+"/xhr_send", message).taken()
		st.expect("data: a" + message + "\r\n\r\n")
		st.expectEnd()
	},
}

const htmlFileHead = `<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>`

// expectHTMLFile reads the head of the document.
func (st *stream) expectHTMLFile() {
	st.t.Helper()
	st.expect(htmlFileHead)
	var padding strings.Builder
	for {
		p, err := st.r.Peek(1)
		if err != nil {
			st.t.Fatal(err)
		}
		if p[0] != ' ' && p[0] != '\r' && p[0] != '\n' {
			break
		}
		_, _ = st.r.Discard(1)
		padding.WriteByte(p[0])
	}
	if n := len(htmlFileHead) + padding.Len(); n <= 1024 {
		st.t.Errorf("%d bytes of prelude", n)
	}
}

var htmlFileChecks = map[string]func(*server){
	"test_transport": func(s *server) {
		path := session("/echo")
		st := s.stream("GET", path+"/htmlfile?c=%63allback")
		checkHeader(s.t, st.Header, "Content-Type", "text/html; charset=UTF-8")
		st.expectHTMLFile()
		st.expect("<script>\np(\"o\");\n</script>\r\n")
		s.post(path+"/xhr_send", `["x"]`).taken()
		st.expect("<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n")
		s.post(path+"/xhr_send", `["</script>\u2028"]`).taken()
		st.expect(`<script>` + "\n" + `p("a[\"\u003c/script>\\u2028\"]");` + "\n</script>\r\n")
	},
	"test_no_callback": func(s *server) {
		s.get("/echo/a/a/htmlfile").is(500).mentions(`"callback" parameter required`)
	},
	"test_invalid_callback": func(s *server) { s.invalidCallbacks("/echo/a/a/htmlfile") },
	"test_response_limit": func(s *server) {
		path := session("/echo")
		st := s.stream("GET", path+"/htmlfile?c=callback")
		st.expectHTMLFile()
		st.expect("<script>\np(\"o\");\n</script>\r\n")
		x := strings.Repeat("x", 4096)
		s.post(path+"/xhr_send", `["`+x+`"]`).taken()
		st.expect("<script>\np(\"a[\\\"" + x + "\\\"]\");\n</script>\r\n")
		st.expectEnd()
	},
}

func (s *server) invalidCallbacks(path string) {
	s.t.Helper()
	for _, callback := range []string{"%20", "*", "abc(", "abc%28", "a;b", "a%0a", "%3Cscript%3E", "%C3%A9", strings.Repeat("x", 1000)} {
		s.get(path + "?c=" + strings.ReplaceAll(callback, ";", "%3B")).is(500).mentions(`invalid "callback" parameter`)
	}
}

var jsonpChecks = map[string]func(*server){
	"test_transport": func(s *server) {
		path := session("/echo")
		s.get(path+"/jsonp?c=%63allback").says("/**/callback(\"o\");\r\n").has("Content-Type", javascript).notCached()
		s.post(path+"/jsonp_send", "d=%5B%22x%22%5D", form).says("ok").has("Content-Type", "text/plain; charset=UTF-8").notCached()
		s.get(path + "/jsonp?c=%63allback").says("/**/callback(\"a[\\\"x\\\"]\");\r\n")
		s.post(path+"/jsonp_send", "d=%5B%22y%22%5D", form).says("ok")
		s.get(path + "/jsonp?callback=_jp.a0-Z").says("/**/_jp.a0-Z(\"a[\\\"y\\\"]\");\r\n")
	},
	"test_no_callback":      func(s *server) { s.get("/echo/a/a/jsonp").is(500).mentions(`"callback" parameter required`) },
	"test_invalid_callback": func(s *server) { s.invalidCallbacks("/echo/a/a/jsonp") },
	"test_invalid_json": func(s *server) {
		path := session("/echo")
		s.get(path + "/jsonp?c=x").says("/**/x(\"o\");\r\n")
		s.post(path+"/jsonp_send", "d=%5B%22x", form).is(500).mentions("Broken JSON encoding.")
		for _, data := range []string{"", "d=", "p=p"} {
			s.post(path+"/jsonp_send", data, form).is(500).mentions("Payload expected.")
		}
		s.post(path+"/jsonp_send", "d=%5B%22b%22%5D", form).says("ok")
		s.get(path + "/jsonp?c=x").says("/**/x(\"a[\\\"b\\\"]\");\r\n")
	},
	"test_content_types": func(s *server) {
		path := session("/echo")
		s.get(path + "/jsonp?c=x").says("/**/x(\"o\");\r\n")
		s.post(path+"/jsonp_send", "d=%5B%22abc%22%5D", form).says("ok")
		s.post(path+"/jsonp_send", `["%61bc"]`, "Content-Type: text/plain").says("ok")
		s.get(path + "/jsonp?c=x").says("/**/x(\"a[\\\"abc\\\",\\\"%61bc\\\"]\");\r\n")
	},
	"test_close": func(s *server) {
		path := session("/close")
		s.get(path + "/jsonp?c=x").says("/**/x(\"o\");\r\n")
		for range 3 {
			s.get(path + "/jsonp?c=x").says("/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n")
		}
	},
	"test_sending_empty_frame": func(s *server) {
		path := session("/echo")
		s.get(path + "/jsonp?c=x").says("/**/x(\"o\");\r\n")
		s.post(path+"/jsonp_send", "d=%5B%5D", form).says("ok")
		s.post(path+"/jsonp_send", "d=%5B%22x%22%5D", form).says("ok")
		s.get(path + "/jsonp?c=x").says("/**/x(\"a[\\\"x\\\"]\");\r\n")
	},
}

const dummyCookie = "JSESSIONID=dummy; path=/"

// cookies checks the cookie of a stream, and that one that was sent comes
// back.
func (s *server) cookies(method, path string) {
	s.t.Helper()
	checkHeader(s.t, s.stream(method, path).Header, "Set-Cookie", dummyCookie)
	path = strings.Replace(path, "/000/", "/000/x", 1)
	checkHeader(s.t, s.stream(method, path, "Cookie: a=b; JSESSIONID=abcdef").Header, "Set-Cookie", "JSESSIONID=abcdef; path=/")
}

var cookieChecks = map[string]func(*server){
	"test_basic": func(s *server) {
		if !*s.get("/cookie_needed_echo/info").has("Set-Cookie", "").info().CookieNeeded {
			s.t.Error("cookie_needed: false")
		}
		for _, path := range []string{"", "/iframe.html", "/nothing"} {
			s.get("/cookie_needed_echo"+path).has("Set-Cookie", "")
		}
	},
	"test_xhr": func(s *server) {
		path := session("/cookie_needed_echo")
		s.post(path+"/xhr", "").says("o\n").has("Set-Cookie", dummyCookie)
		s.post(path+"/xhr_send", `["x"]`).taken().has("Set-Cookie", dummyCookie)
		s.post(session("/cookie_needed_echo")+"/xhr", "", "Cookie: JSESSIONID=abcdef").says("o\n").has("Set-Cookie", "JSESSIONID=abcdef; path=/")
	},
	"test_xhr_streaming": func(s *server) { s.cookies("POST", session("/cookie_needed_echo")+"/xhr_streaming") },
	"test_eventsource":   func(s *server) { s.cookies("GET", session("/cookie_needed_echo")+"/eventsource") },
	"test_htmlfile":      func(s *server) { s.cookies("GET", session("/cookie_needed_echo")+"/htmlfile?c=%63allback") },
	"test_jsonp": func(s *server) {
		path := session("/cookie_needed_echo")
		s.get(path+"/jsonp?c=%63allback").says("/**/callback(\"o\");\r\n").has("Set-Cookie", dummyCookie)
		s.post(path+"/jsonp_send", "d=%5B%22x%22%5D", form).says("ok").has("Set-Cookie", dummyCookie)
	},
}

// Without cookie_needed there is none.
func TestNoCookie(t *testing.T) {
	s := serve(t, testApplications(), 1)
	s.post(session("/echo")+"/xhr", "", "Cookie: JSESSIONID=abcdef").says("o\n").has("Set-Cookie", "")
}
