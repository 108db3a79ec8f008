package attack

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// M39: a known value is masked on every path to an object, by every verb, in every representation, by HTTP/1.1 and HTTP/2.
func TestM39EveryPath(t *testing.T) {
	s, v, word := knowing(t)
	objects := s.plant(v, word)
	send := func(q request) answer {
		t.Helper()
		q.header = append(q.header, "Accept-Encoding: gzip, br")
		s.doH2(q)
		a := s.do(q)
		if a.code == 0 || a.code >= 500 {
			t.Errorf("%s %v: %d %.300s", q.path, q.header, a.code, a.body)
		}
		return a
	}
	var all sync.WaitGroup
	every := func(p planted) {
		one := "fieldSelector=" + url.QueryEscape("metadata.name="+p.name)
		for _, path := range []string{p.object(), p.object() + "?pretty=true", p.object() + "?resourceVersion=0", p.path, p.path + "?" + one, p.path + "?labelSelector=planted", p.path + "?resourceVersion=0&limit=500",
			p.path + "?watch=1&timeoutSeconds=1&" + one, p.path + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1&" + one,
			p.object() + "/status", p.object() + "/scale", p.object() + "/approval", p.object() + "/ephemeralcontainers", p.object() + "/finalize"} {
			a := send(request{path: path})
			if path == p.object() && bytes.Count(a.body, []byte("gbm-")) < 5 {
				t.Errorf("%s: little is masked: %d %.300s", path, a.code, a.body)
			}
		}
		if i := strings.Index(p.path, "/namespaces/"+s.ns); i >= 0 {
			everywhere := p.path[:i] + p.path[i+len("/namespaces/"+s.ns):]
			send(request{path: everywhere + "?" + one})
			watch := strings.Replace(p.object(), "/v1/", "/v1/watch/", 1)
			send(request{path: watch + "?timeoutSeconds=1"})
			send(request{path: strings.Replace(p.path, "/v1/", "/v1/watch/", 1) + "?timeoutSeconds=1&" + one})
		}
		for _, accept := range []string{"application/vnd.kubernetes.protobuf", "application/yaml", "application/cbor", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
			"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/yaml;as=Table;v=v1;g=meta.k8s.io",
			"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
			for _, path := range []string{p.object(), p.path + "?" + one, p.object() + "?includeObject=Object", p.path + "?includeObject=Object&" + one, p.path + "?watch=1&timeoutSeconds=1&includeObject=Object&" + one} {
				s.do(request{path: path, header: []string{"Accept: " + accept}})
			}
		}
		s.pages(p)
		for _, q := range []request{
			{method: "PATCH", header: []string{"Content-Type: " + merge}, body: `{"metadata":{"annotations":{"changed":"yes"}}}`},
			{method: "PATCH", header: []string{"Content-Type: " + jsonPatch}, body: `[{"op":"add","path":"/metadata/annotations/changed","value":"again"}]`},
			{method: "PATCH", header: []string{"Content-Type: " + strategic}, body: `{"metadata":{"annotations":{"changed":"more"}}}`},
			{method: "PATCH", header: []string{"Content-Type: " + jsonPatch}, body: `[{"op":"test","path":"/metadata/annotations/all","value":"x"}]`},
			{method: "PATCH", header: []string{"Content-Type: " + jsonPatch}, body: `[{"op":"copy","from":"/metadata/annotations/all","path":"/metadata/labels/x"}]`},
			{method: "PATCH", header: []string{"Content-Type: " + jsonPatch}, body: `[{"op":"copy","from":"/metadata/annotations/all","path":"/spec"}]`},
			{method: "PUT", header: []string{"Content-Type: " + mediaJSON}, body: `{"metadata":{"name":"` + p.name + `","resourceVersion":"1"}}`},
			{method: "DELETE"}, {method: "OPTIONS"}, {method: "HEAD"},
		} {
			for _, sub := range []string{"", "/status"} {
				q.path = p.object() + sub + "?dryRun=All"
				s.do(q)
			}
		}
		if strings.Contains(p.path, "/namespaces/"+s.ns) {
			s.do(request{method: "DELETE", path: p.path + "?dryRun=All&labelSelector=planted"})
		}
	}
	for _, p := range objects {
		all.Go(func() { every(p) }) // they wait for watches most of the time
	}
	all.Wait()
	for _, path := range []string{"/apis", "/api", "/apis/" + s.ns + ".example.com/v1", "/openapi/v3", "/openapi/v3/apis/" + s.ns + ".example.com/v1", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets." + s.ns + ".example.com"} {
		for _, accept := range []string{"", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf"} {
			s.do(request{path: path, header: []string{"Accept: " + accept}})
		}
	}
	for _, p := range objects { // what is deleted is in the answer
		if strings.Contains(p.path, "/namespaces/"+s.ns) {
			a := s.send("DELETE", p.path+"?labelSelector=planted", mediaJSON, "")
			if a.code != 200 || !bytes.Contains(a.body, []byte("gbm-")) && p.kind != "event" && p.kind != "events.events.k8s.io" {
				t.Errorf("deleting %s: %d %.300s", p.path, a.code, a.body)
			}
		}
	}
	s.check()
}

// pages fetches a collection an object at a time.
func (s *scene) pages(p planted) {
	s.t.Helper()
	next := ""
	for range 30 {
		a := s.do(request{path: p.path + "?limit=1&continue=" + url.QueryEscape(next)})
		var list struct {
			Metadata struct{ Continue string }
		}
		if err := json.Unmarshal(a.body, &list); err != nil || a.code != 200 {
			s.t.Errorf("%s: %d %v", p.path, a.code, err)
			return
		}
		if next = list.Metadata.Continue; next == "" {
			return
		}
	}
}
