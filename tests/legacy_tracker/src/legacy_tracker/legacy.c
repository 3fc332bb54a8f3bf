/* Track finding among space points: a code of the old kind, which knows nothing of trackserve.
 *
 * A particle from the beam moves on a circle through the beam, and evenly along z. With y/x against
 * r^2/x (the conformal map) a circle through the origin is a straight line; so is z against the
 * length of the arc. Pairs of inner points start two such lines. A Kalman filter follows both
 * outwards (R. Fruehwirth, NIM A 262 (1987) 444). Lengths are in mm, the field is 2 T.
 *
 * Functions return a status and keep no state, so that any number of threads may call them.
 */
#include <math.h>
#include <stdlib.h>

enum { OK = 0, NOT_FINITE = 1, TOO_MANY = 2, NO_MEMORY = 3 };

struct seed { int inner, outer; float curvature, z0, cot_theta; };
struct track { int seed, points; double chi2; };
/* A straight line and its covariance where it is `at`. */
struct line { double at, value, slope, vv, vs, ss; };
struct point { double x, y, z, r; };

static const double INNER = 200;                  /* radius of what makes a pair */
static const double MIN_STEP = 5, MAX_STEP = 100; /* in radius, of a pair */
static const double MAX_Z0 = 200, MIN_CURVATURE = 2e-5, MAX_CURVATURE = 1e-3;
static const double MAX_GAP = 400;   /* in radius, between two points of a track */
static const double MAX_CHI2 = 16;   /* of one point, in each projection */
static const double SCATTERING = 3e-3 / 0.6e-3; /* angle (3 mrad at 1 GeV) over curvature, mm */

static double square(double x) { return x * x; }

static struct point point_at(const float *p) {
    return (struct point){p[0], p[1], p[2], sqrt(square(p[0]) + square(p[1]))};
}

/* Resolutions of pixels, short and long strips; on a disk that along r counts, seen along z. */
static double across(double r) { return r < 200 ? 0.05 : r < 700 ? 0.08 : 0.3; }
static double along(double r) { return r < 200 ? 0.05 : r < 700 ? 0.35 : 3.2; }

static void conform(struct point axis, struct point p, double *t, double *value) {
    double x = (p.x * axis.x + p.y * axis.y) / axis.r;
    *value = (p.y * axis.x - p.x * axis.y) / axis.r / x;
    *t = p.r * p.r / x;
}

static double curvature_of(const struct line *l) {
    return 2 * l->slope / sqrt(1 + l->value * l->value);
}

static double arc(double r, double curvature) {
    double half = curvature * r / 2;
    return r * (1 + half * half / 6);
}

static struct line join(double t0, double v0, double var0, double t1, double v1, double var1) {
    double d = t1 - t0;
    return (struct line){t1, v1, (v1 - v0) / d, var1, var1 / d, (var0 + var1) / (d * d)};
}

static struct line move(struct line l, double t, double noise) {
    double d = t - l.at;
    l.ss += noise;
    l.value += d * l.slope;
    l.vv += d * (2 * l.vs + d * l.ss);
    l.vs += d * l.ss;
    l.at = t;
    return l;
}

static double chi2_of(const struct line *l, double measured, double variance) {
    double d = measured - l->value;
    return d * d / (l->vv + variance);
}

static struct line update(struct line l, double measured, double variance) {
    double d = measured - l.value, total = l.vv + variance, k = l.vv / total, m = l.vs / total;
    l.value += k * d;
    l.slope += m * d;
    l.ss -= m * l.vs;
    l.vs -= k * l.vs;
    l.vv -= k * l.vv;
    return l;
}

/* Start both lines from two points; 0 if no particle from the beam goes through them. */
static int start(struct point a, struct point b, struct line *bend, struct line *dip) {
    double ta, va, tb, vb;
    conform(b, a, &ta, &va);
    conform(b, b, &tb, &vb);
    if (fabs(va) > MAX_CURVATURE * (b.r - a.r)) return 0;
    *bend = join(ta, va, square(across(a.r) / a.r), tb, vb, square(across(b.r) / b.r));
    if (fabs(curvature_of(bend)) > MAX_CURVATURE) return 0;
    double cot = (b.z - a.z) / (b.r - a.r), var = square(along(b.r)) * (1 + cot * cot);
    double k = curvature_of(bend);
    *dip = join(arc(a.r, k), a.z, var, arc(b.r, k), b.z, var);
    return fabs(a.z - cot * a.r) < MAX_Z0;
}

/* Follow a seed outwards through points without an owner. path: gets the points, room for n. */
static struct track follow(int n, const float *xyz, const struct seed *s, const int *owner,
                           int *path) {
    struct track found = {0, 0, 0};
    struct point b = point_at(xyz + 3 * s->outer), last = b;
    struct line bend, dip;
    start(point_at(xyz + 3 * s->inner), b, &bend, &dip);
    path[found.points++] = s->inner;
    path[found.points++] = s->outer;
    for (int i = s->inner + 1; i < n; i++) {
        struct point p = point_at(xyz + 3 * i);
        if (p.r - last.r > MAX_GAP) break;
        if (owner[i] >= 0 || i == s->outer) continue;
        if (p.x * b.x + p.y * b.y < 0.7 * p.r * b.r) continue; /* 45 degrees away */
        double t, v, k = curvature_of(&bend), dip2 = 1 + square(dip.slope);
        double angle = i < s->outer ? 0 : SCATTERING * fmax(fabs(k), MIN_CURVATURE);
        double var_v = square(across(p.r) / p.r), var_z = square(along(p.r)) * fmax(1, dip2 - 1);
        conform(b, p, &t, &v);
        struct line turn = move(bend, t, square(angle / last.r) / dip2);
        struct line climb = move(dip, arc(p.r, k), square(angle) * dip2);
        double chi2_v = chi2_of(&turn, v, var_v), chi2_z = chi2_of(&climb, p.z, var_z);
        if (chi2_v > MAX_CHI2 || chi2_z > MAX_CHI2) continue;
        path[found.points++] = i;
        found.chi2 += chi2_v + chi2_z;
        if (i < s->outer) continue; /* the lines already pass here */
        bend = update(turn, v, var_v);
        dip = update(climb, p.z, var_z);
        last = p;
    }
    return found;
}

/* Longest first, then straightest, then first. */
static int compare(const void *one, const void *other) {
    const struct track *a = one, *b = other;
    if (a->points != b->points) return b->points - a->points;
    if (a->chi2 != b->chi2) return a->chi2 < b->chi2 ? -1 : 1;
    return a->seed - b->seed;
}

/* Pairs of inner points that a particle from the beam may connect.
 * xyz: n points by increasing radius. seeds: room for `most`. n_seeds: how many there are. */
int legacy_find_seeds(int n, const float *xyz, int most, struct seed *seeds, int *n_seeds) {
    *n_seeds = 0;
    for (int i = 0; i < 3 * n; i++)
        if (!isfinite(xyz[i])) return NOT_FINITE;
    for (int i = 0; i < n; i++) {
        struct point a = point_at(xyz + 3 * i), b;
        if (a.r == 0) continue;
        for (int j = i + 1; j < n && (b = point_at(xyz + 3 * j)).r < INNER; j++) {
            struct line bend, dip;
            if (b.r - a.r < MIN_STEP) continue;
            if (b.r - a.r > MAX_STEP) break;
            if (a.x * b.x + a.y * b.y <= 0 || !start(a, b, &bend, &dip)) continue;
            if (*n_seeds == most) return TOO_MANY;
            float z0 = (float)(b.z - dip.slope * dip.at), cot = (float)dip.slope;
            seeds[(*n_seeds)++] = (struct seed){i, j, (float)curvature_of(&bend), z0, cot};
        }
    }
    return OK;
}

/* Track candidates from seeds; the longest come first and take their points.
 * owner: gets the candidate of each of the n points, or -1.
 * chi2: room for n candidates, gets the mean over their points. */
int legacy_find_candidates(int n, const float *xyz, int n_seeds, const struct seed *seeds,
                           int min_points, int *owner, float *chi2, int *n_candidates) {
    struct track *tracks = malloc((size_t)(n_seeds + 1) * sizeof *tracks);
    int *path = malloc((size_t)(n + 1) * sizeof *path), status = NO_MEMORY;
    if (tracks && path) {
        for (int i = 0; i < n; i++) owner[i] = -1;
        for (int i = 0; i < n_seeds; i++) {
            tracks[i] = follow(n, xyz, seeds + i, owner, path);
            tracks[i].seed = i;
        }
        qsort(tracks, (size_t)n_seeds, sizeof *tracks, compare);
        *n_candidates = 0;
        for (int i = 0; i < n_seeds && tracks[i].points >= min_points; i++) {
            const struct seed *s = seeds + tracks[i].seed;
            if (owner[s->inner] >= 0 || owner[s->outer] >= 0) continue;
            struct track left = follow(n, xyz, s, owner, path);
            if (left.points < min_points) continue;
            for (int k = 0; k < left.points; k++) owner[path[k]] = *n_candidates;
            chi2[(*n_candidates)++] = (float)(left.chi2 / left.points);
        }
        status = OK;
    }
    free(path);
    free(tracks);
    return status;
}
