package web

import (
	"mime"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// asciiBased are charsets in which a byte of ASCII stands for itself, by prefix, so that what is known to be secret is found.
var asciiBased = []string{"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-", "iso8859-", "latin1", "latin-1", "windows-125", "cp125", "windows-874", "tis-620",
	"koi8-", "macintosh", "gbk", "gb2312", "gb18030", "big5", "shift_jis", "shift-jis", "windows-31j", "euc-", "binary"}

// mediaTypeOf is a Content-Type without its parameters, whatever these are.
func mediaTypeOf(contentType string) string {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// checkCharset refuses an answer in a charset other than those, such as UTF-16, and one that may be: where the parameters
// cannot be read, or there are two, clients differ in which they take.
func checkCharset(contentType string) *access.Refusal {
	if contentType == "" {
		return nil
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil && strings.Contains(strings.ToLower(contentType), "charset") {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer's charset cannot be read from its content type %q", contentType)
	}
	c := strings.ToLower(strings.Trim(params["charset"], " '"))
	if c != "" && !slices.ContainsFunc(asciiBased, func(p string) bool { return strings.HasPrefix(c, p) }) {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer is written in %q, in which nothing can be masked", c)
	}
	return nil
}

// wide are the byte order marks of UTF-32 and UTF-16, which tell a charset that no header names.
var wide = [][]byte{{0xff, 0xfe}, {0xfe, 0xff}, {0, 0, 0xfe, 0xff}}
