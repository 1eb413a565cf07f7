/* SPDX-License-Identifier: MIT */
#include "train/report_html.h"

#include <math.h>
#include <string.h>
#include "base/utf8.h"

/* ---- text ---- */

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* What must not reach a page: control characters but for line feed and tab, marks that turn the
 * writing direction, and non-characters. */
static bool is_harmful(uint32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0x61c || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef);
}

void nbi_html_text(nbi_strbuf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        const size_t len = nbi_utf8_decode(s + i, n - i, &c);
        const char *e = len == 1 ? entity(s[i]) : NULL;
        if (e)
            nbi_strbuf_puts(b, e);
        else if (c == 0xffffffffu || is_harmful(c))
            nbi_strbuf_puts(b, "\xef\xbf\xbd");
        else
            nbi_strbuf_add(b, s + i, len);
        i += len;
    }
}

void nbi_html_str(nbi_strbuf *b, const char *s)
{
    nbi_html_text(b, s, strlen(s));
}

void nbi_html_number(nbi_strbuf *b, double v, int digits)
{
    if (isfinite(v))
        nbi_strbuf_printf(b, "%.*g", digits, v);
    else
        nbi_strbuf_puts(b, "not finite");
}

/* ---- the frame ---- */

/* Colours: Okabe and Ito's, told apart with every kind of colour blindness; lighter on dark. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--ink:#1b1d21;--soft:#5d636d;"
    "--line:#e3e4e2;--axis:#a9adb3;--warn:#8a4b00;--warnbg:#fff4e0;"
    "--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#b4609a;--c5:#c98a00;--c6:#3a9bd9;--c7:#7d6b4f;"
    "--c8:#6b7280}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#121417;--card:#1b1e22;--ink:#e9eaec;"
    "--soft:#9ba3ae;--line:#2c3036;--axis:#5a616b;--warn:#ffc66b;--warnbg:#2e2413;"
    "--c1:#4db2ef;--c2:#ff8a4c;--c3:#35c99d;--c4:#e59cc9;--c5:#f0b93a;--c6:#8fd0ff;--c7:#c4ad88;"
    "--c8:#9aa3b2}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;-webkit-text-size-adjust:100%}\n"
    "main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}\n"
    "h1{font-size:1.6rem;line-height:1.25;margin:0;overflow-wrap:anywhere;letter-spacing:-.01em}\n"
    "h2{font-size:1.1rem;margin:36px 0 12px}\n"
    "p{margin:6px 0}.soft{color:var(--soft)}.num,td.num{font-variant-numeric:tabular-nums}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;"
    "margin:22px 0}\n"
    ".tile,figure,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}\n"
    ".tile{padding:12px 14px}.tile b{display:block;font-size:1.25rem;line-height:1.35;"
    "font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".tile span{font-size:.8rem;color:var(--soft);display:block}\n"
    ".charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}"
    "figure{margin:0;padding:14px 16px 10px;min-width:0}figure.wide{grid-column:1/-1}\n"
    "@media(max-width:760px){.charts{grid-template-columns:minmax(0,1fr)}main{padding:20px 14px "
    "48px}h1{font-size:1.3rem}}\n"
    "figcaption{display:flex;flex-wrap:wrap;gap:2px 14px;align-items:baseline;margin-bottom:16px}"
    "figcaption b{font-size:1rem}figcaption>span{font-size:.8rem;color:var(--soft)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:2px 14px;list-style:none;margin:0 0 0 auto;padding:0;"
    "font-size:.8rem;color:var(--soft)}.key li{overflow-wrap:anywhere}"
    ".key i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;"
    "vertical-align:middle;background:var(--k)}.key i.box{height:10px;opacity:.75}"
    ".key i.faint{opacity:.4}.mark{display:inline-block;width:10px;height:10px;"
    "border-radius:50%;margin-right:8px;background:var(--k)}\n"
    ".plot{position:relative;height:230px;margin:0 6px 40px 54px;touch-action:pan-y}"
    ".wide .plot{height:300px}.plot svg{position:absolute;inset:0;width:100%;height:100%;"
    "overflow:visible}\n"
    "path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}"
    ".grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--axis);stroke-width:1}"
    ".line{stroke:var(--k);stroke-width:2}.line.faint{stroke-width:1;opacity:.4}"
    ".dots{stroke:var(--k);stroke-width:7}.area{fill:var(--k);fill-opacity:.75;"
    "stroke:var(--card);stroke-width:.75}\n"
    ".k1{--k:var(--c1)}.k2{--k:var(--c2)}.k3{--k:var(--c3)}.k4{--k:var(--c4)}.k5{--k:var(--c5)}"
    ".k6{--k:var(--c6)}.k7{--k:var(--c7)}.k8{--k:var(--c8)}\n"
    ".plot span{position:absolute;font-size:.72rem;line-height:1;color:var(--soft);"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".plot .y{right:100%;margin-right:8px;transform:translateY(50%)}"
    ".plot .x{top:100%;margin-top:8px;transform:translateX(-50%)}"
    ".plot .u{top:100%;right:0;margin-top:25px}\n"
    ".tip{position:absolute;z-index:2;pointer-events:none;background:var(--card);"
    "border:1px solid var(--axis);border-radius:6px;padding:6px 9px;font-size:.78rem;"
    "font-variant-numeric:tabular-nums;white-space:nowrap;box-shadow:0 2px 10px #0003}"
    ".tip i{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:6px;"
    "background:var(--k)}.rule{position:absolute;top:0;bottom:0;width:1px;background:var(--axis);"
    "pointer-events:none}\n"
    ".scroll{overflow-x:auto}.card{padding:6px 16px}table{border-collapse:collapse;width:100%;"
    "font-size:.9rem}th,td{text-align:left;padding:7px 14px 7px 0;border-top:1px solid "
    "var(--line);vertical-align:top}tr:first-child>th,tr:first-child>td{border-top:0}"
    "th{font-weight:600;color:var(--soft);white-space:nowrap}td{overflow-wrap:anywhere}"
    "td.num,th.num{text-align:right;white-space:nowrap}tr.best td{font-weight:600}\n"
    ".bar{height:10px;border-radius:5px;background:var(--line);margin:5px 0;overflow:hidden;"
    "min-width:90px}.bar i{display:block;height:100%;background:var(--k);border-radius:5px}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0 10px;font:.85rem/1.5 "
    "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
    ".warnings{background:var(--warnbg);color:var(--warn);border-radius:10px;padding:10px 16px;"
    "list-style:none;margin:0 0 16px}.warnings li{margin:4px 0;overflow-wrap:anywhere}\n"
    ".sample{padding:12px 16px;margin-bottom:12px}.sample>div{display:grid;gap:0 20px;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,260px),1fr))}"
    ".sample h3{font-size:.78rem;font-weight:600;color:var(--soft);margin:8px 0 0}\n"
    ".settings{columns:2;column-gap:32px}.settings div{break-inside:avoid;display:flex;gap:12px;"
    "justify-content:space-between;border-bottom:1px solid var(--line);padding:4px 0;"
    "font-size:.85rem}.settings span:last-child{text-align:right;overflow-wrap:anywhere;"
    "min-width:0}@media(max-width:760px){.settings{columns:1}}\n"
    "summary{cursor:pointer;padding:8px 0;font-weight:600}"
    "footer{margin-top:40px;font-size:.8rem;color:var(--soft)}\n"
    "@media print{body{background:#fff}figure,.card,.tile{break-inside:avoid}}\n";

/* Values under the pointer, read back from the paths that are drawn: nothing is stored twice. */
static const char script[] =
    "'use strict';for(const plot of document.querySelectorAll('.plot')){\n"
    "const d=plot.dataset,n=k=>+d[k];let data=null,tip=null,rule=null;\n"
    "const parse=()=>[...plot.querySelectorAll('[data-name]')].map(p=>{\n"
    "const v=(p.getAttribute('d').match(/-?[\\d.]+/g)||[]).map(Number),q=[];\n"
    "for(let i=0;i+1<v.length;i+=2)q.push([v[i],v[i+1]]);\n"
    "if(!p.classList.contains('area'))return{p,q};\n"
    "const h=q.length/2;return{p,q:q.slice(0,h).map((a,i)=>[a[0],a[1],q[2*h-1-i][1]])}});\n"
    "const num=v=>d.bytes?(v/2**20).toFixed(1)+' MiB':Math.abs(v)>=1e5?Math.round(v)"
    ".toLocaleString('en'):String(+v.toPrecision(4));\n"
    "const off=()=>{if(tip){tip.remove();rule.remove();tip=null}};\n"
    "plot.addEventListener('pointerleave',off);\n"
    "plot.addEventListener('pointermove',e=>{\n"
    "data=data||parse();const r=plot.getBoundingClientRect();\n"
    "const at=(e.clientX-r.left)/r.width*1000;let best=null;\n"
    "for(const s of data)for(const a of s.q)if(!best||Math.abs(a[0]-at)<Math.abs(best-at))"
    "best=a[0];\n"
    "if(best===null)return;\n"
    "if(!tip){tip=document.createElement('div');tip.className='tip';"
    "rule=document.createElement('div');rule.className='rule';plot.append(rule,tip)}\n"
    "rule.style.left=best/10+'%';tip.textContent='step '+Math.round(n('x0')+best/1000*"
    "(n('x1')-n('x0')));\n"
    "for(const s of data){const a=s.q.find(a=>Math.abs(a[0]-best)<.006);if(!a)continue;\n"
    "const span=n('y1')-n('y0'),low=a.length>2?a[2]:null,row=document.createElement('div'),"
    "i=document.createElement('i');i.className=s.p.classList[1];\n"
    "row.append(i,s.p.dataset.name+': '+num(low===null?n('y0')+(1-a[1]/1000)*span:(low-a[1])/1000"
    "*span));tip.append(row)}\n"
    "const w=tip.offsetWidth,x=best/1000*r.width;\n"
    "tip.style.left=Math.max(-46,Math.min(r.width-w,x+12+w>r.width?x-w-12:x+12))+'px';"
    "tip.style.top='8px'})}\n";

void nbi_html_begin(nbi_strbuf *b, const char *title)
{
    nbi_strbuf_puts(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width, "
                       "initial-scale=1\">\n<title>");
    nbi_html_str(b, title);
    nbi_strbuf_puts(b, "</title>\n<style>\n");
    nbi_strbuf_puts(b, style);
    nbi_strbuf_puts(b, "</style>\n</head>\n<body>\n<main>\n");
}

void nbi_html_end(nbi_strbuf *b)
{
    nbi_strbuf_printf(b, "<footer>nibble %s</footer>\n</main>\n<script>\n", nb_version());
    nbi_strbuf_puts(b, script);
    nbi_strbuf_puts(b, "</script>\n</body>\n</html>\n");
}

void nbi_html_heading(nbi_strbuf *b, const char *id, const char *title)
{
    nbi_strbuf_printf(b, "<h2 id=\"%s\">%s</h2>\n", id, title);
}
