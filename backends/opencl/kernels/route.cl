/* SPDX-License-Identifier: MIT */

/* The masks that a token sums over, their order and their weights. One work-item for each token. */

#define MAX_MASKS 16

/* Ids from the caller. One that is out of range makes the token NaN and sets the flag; 0 replaces it. */
MGLU_INLINE void route_given(__global const int *given_ids, __global const float *given_p, __global int *ids,
                               __global float *p, __global int *bad_routing, const struct mglu_route_job *job)
{
    bool in_range = true;

    for (uint i = 0; i < job->terms; i++)
        in_range = in_range && given_ids[i] >= 0 && given_ids[i] < (int)job->n_masks;
    for (uint i = 0; i < job->terms; i++) {
        ids[i] = in_range ? given_ids[i] : 0;
        p[i] = in_range ? given_p[i] : NAN;
    }
    if (!in_range)
        *bad_routing = 1;
}

/* The ids of the `terms` largest logits, in descending order; the lower id first on a tie. */
MGLU_INLINE void select_largest(const float *logits, uint n_masks, int *ids, uint terms)
{
    for (uint i = 0; i < n_masks; i++) {
        uint place = i < terms ? i : terms;
        while (place > 0 && logits[ids[place - 1]] < logits[i]) {
            if (place < terms)
                ids[place] = ids[place - 1];
            place--;
        }
        if (place < terms)
            ids[place] = i;
    }
}

MGLU_INLINE void route_by_router(__global const float *from, __global int *ids, __global float *p,
                                 const struct mglu_route_job *job)
{
    float logits[MAX_MASKS], sum = 0.0f;
    int selected[MAX_MASKS];
    bool is_nan = false;

    for (uint i = 0; i < job->n_masks; i++) {
        logits[i] = from[i];
        is_nan = is_nan || isnan(logits[i]);
    }
    select_largest(logits, job->n_masks, selected, job->terms);
    for (uint i = 0; i < job->terms; i++)
        sum += mglu_exp_nonpositive(logits[selected[i]] - logits[selected[0]], 0.0f);
    for (uint i = 0; i < job->terms; i++) {
        ids[i] = selected[i];
        p[i] = is_nan ? NAN : mglu_exp_nonpositive(logits[selected[i]] - logits[selected[0]], 0.0f) / sum;
    }
}

__kernel void mglu_route(__global const int *given_ids, __global const float *given_p, __global int *workspace,
                         __global int *bad_routing, const struct mglu_route_job job)
{
    const size_t token = get_global_id(0);
    if (token >= job.tokens)
        return;
    __global int *ids = workspace + job.ids_offset + token * job.terms;
    __global float *p = (__global float *)workspace + job.p_offset + token * job.terms;
    if (job.is_given)
        route_given(given_ids + job.given_ids_offset + token * job.given_ids_stride,
                      given_p + job.given_p_offset + token * job.given_p_stride, ids, p, bad_routing, &job);
    else
        route_by_router((__global const float *)workspace + job.logits_offset + token * job.n_masks, ids, p, &job);
}
