"""Every field, with its default, unit and meaning. The other files in this folder are differences from this one.

    python -m facemae_jax run --config=configs/base.py --workdir=runs/mine --config.data.seen=/faces/celeba112.zip

Defaults describe one GPU, 112×112 aligned crops and the method of FaceMAE (arXiv 2205.11090).
"""

from ml_collections import ConfigDict


def optim(**changes):
    """Fields of one training run: schedule, optimizer, cadence."""
    fields = dict(
        epochs=40.0,  # passes over the faces; steps = ceil(epochs · images / batch)
        batch=256,  # images per step, over all devices
        optimizer="adamw",  # adamw | sgd
        learning_rate=1e-3,  # peak, after warm-up
        final_learning_rate=0.0,  # at the last step of the cosine
        warmup=0.05,  # share of all steps, linear from 0
        weight_decay=0.05,  # not applied to biases, norms, PReLU slopes, tokens and positions
        betas=(0.9, 0.95),  # adamw
        momentum=0.9,  # sgd (Nesterov off)
        clip=1.0,  # largest global norm of the gradient; 0 = off
        accumulate=1,  # micro-batches per step; IRM's graph spans one micro-batch
        init_from="",  # warm start: a stage or model directory whose weights begin this run; "" = scratch
        log_every=20,  # steps
        save_every=500,  # steps; a killed run loses at most this many
        keep_latest=2,  # checkpoints
        keep_best=1,  # checkpoints with the lowest logged loss
    )
    assert not set(changes) - set(fields), sorted(set(changes) - set(fields))
    return fields | changes


def margin():
    """Fields of a margin: logits = scale · (cos(m1·θ + m2) − m3) for the own class."""
    return dict(
        kind="combined",  # combined: SphereFace, ArcFace, CosFace and mixtures | adaface: m2 and m3 follow from the embedding's norm
        m1=1.0,  # of combined: SphereFace factor
        m2=0.0,  # of combined: ArcFace angle, radians
        m3=0.35,  # of combined: CosFace cosine
        scale=32.0,  # s
        m=0.4,  # of adaface: margin
        h=0.333,  # of adaface: concentration of the norms
    )


def head():
    """Fields of the class centres, which are spread over all devices."""
    return dict(
        sample=1.0,  # share of each device's centres that a step trains, own classes always among them (PartialFC); 1.0 = all
        dtype="float32",  # of centres, their momentum and their product with embeddings: float32 | bfloat16
    )


def augment(**changes):
    """Fields of the augmentation of training images."""
    fields = dict(
        flip=True,  # mirror left-right with probability 1/2
        crop=0.85,  # smallest side of a random crop, as a share, resized back; 1.0 = off
    )
    assert not set(changes) - set(fields), sorted(set(changes) - set(fields))
    return fields | changes


def budget():
    """Fields of the leakage budget: nothing is released while a judge's figure is above the limit."""
    return dict(
        judge="",  # by its name in audit.json; "" = every judge
        figure="same_identity",  # same_image | same_identity: which rank-1 rate of the retrieval attack on the reconstruction
        images=1,  # of a person: 1 = single images; n = the fusion attack's curve at n (same_identity only)
        limit=1.0,  # largest share, of the upper end of the 95 % interval over people; 1.0 = no budget
    )


def protocol():
    """Fields of one more list of pairs to verify on."""
    return dict(
        faces="",  # its images: a folder, a zip, a face set directory or InsightFace's .bin; "" = not measured
        pairs="",  # its list: a file; of CFP the folder Protocol; "" of a .bin, which has its own
    )


def template_protocol():
    """Fields of one list of pairs of templates to verify on."""
    return dict(
        faces="",  # its face crops: a folder, a zip or a face set directory; "" = not measured
        media="",  # which crops form a template: IJB's …_face_tid_mid.txt
        pairs="",  # which templates are compared: IJB's …_template_pair_label.txt
    )


def protocols():
    """Fields of the protocols measured beside the main pairs; where their lists come from is in the README."""
    return dict(
        lfw=protocol(),
        cfp_ff=protocol(),
        cfp_fp=protocol(),
        agedb_30=protocol(),
        calfw=protocol(),
        cplfw=protocol(),
        csv=protocol(),
        ijbb=template_protocol(),
        ijbc=template_protocol(),
    )


def get_config() -> ConfigDict:
    """The full configuration."""
    c = ConfigDict()
    c.name = "base"  # shown in reports and cards
    c.seed = 0  # of every training run: initial weights, order, augmentation, training masks

    c.data = ConfigDict(
        dict(
            seen="synthetic",  # faces to train MAE and teacher on: "synthetic", a folder, a zip, or a face set directory
            unseen="",  # faces to reconstruct: the same choices; "" = the same faces as data.seen, split by identity
            seen_share=0.5,  # share of identities that are seen when both name the same faces
            split_seed=0,  # which identities: sha256(split_seed, identity) decides
            image_size=112,  # pixels, square
            resize=True,  # resize images of another size; False: refuse them
            jpeg_quality=95,  # of imported images that are not already JPEG of the right size; 4:4:4
            max_pixels=40_000_000,  # larger images are bad records
            on_bad_record="fail",  # fail | skip (counted and listed)
            check_pixels=False,  # decode every JPEG and call damaged pixels a bad record (slow); False: a file is whole, its pixels may be damaged
            min_images=1,  # identities with fewer images are left out at import
            landmarks="",  # file of five points per image of seen and unseen faces (README), by which they are aligned; "" = they are aligned
            detect="",  # dlib: find the face in each image of seen and unseen faces and align it; "" = they are aligned
            terms="",  # terms of the source faces, copied into a release's card; required by publish unless synthetic
            threads=2,  # that decode and augment; an import uses as many processes
        )
    )
    c.synthetic = ConfigDict(
        dict(
            identities=256,  # people rendered for "synthetic" seen and unseen faces together
            images=16,  # of each
            seed=0,  # other seeds are other people
            difficulty=1.0,  # strength of pose, light, expression, blur and noise
        )
    )
    c.mesh = ConfigDict(
        dict(
            data=-1,  # devices along the batch axis; -1 = what is left
            fsdp=1,  # devices over which parameters are split too
        )
    )
    c.teacher = ConfigDict(
        dict(
            source="train",  # train | onnx:PATH | checkpoint:PATH
            count=1,  # teachers trained by this recipe, each from its own seed; the losses are means over all teachers
            more=(),  # further teachers: onnx:PATH, checkpoint:PATH
            input_range="unit",  # what ONNX teachers read: unit = −1…1, zero_one = 0…1, bytes = 0…255
            colour_order="rgb",  # rgb | bgr, of ONNX teachers' input
            network="iresnet18",  # iresnet18 | iresnet34 | iresnet50 | iresnet100 | cpu
            embedding=512,  # length
            dtype="float32",  # of the computation: float32 | bfloat16
            dropout=0.0,  # before the embedding layer
            margin=margin(),
            head=head(),
            augment=augment(),
            optim=optim(epochs=60.0, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, clip=5.0),
        )
    )
    c.mae = ConfigDict(
        dict(
            source="train",  # train | checkpoint:PATH
            size="small",  # tiny | small | base | large | huge (see models/vit.py), or custom
            width=0,  # of the encoder, with size="custom"
            depth=0,  # layers, with size="custom"
            heads=0,  # with size="custom"
            decoder_width=256,  # of the decoder
            decoder_depth=4,  # layers
            decoder_heads=8,  # attention heads of the decoder
            patch=8,  # pixels; divides data.image_size
            mask_ratio=0.75,  # share of hidden patches
            visible=0,  # visible patches; 0 = round(N · (1 − mask_ratio)), resolved once at start
            mask_focus=0.0,  # hides the middle of the face more often: odds of being visible fall by exp(−focus) there; 0 = uniform
            dtype="float32",  # of the computation: float32 | bfloat16; parameters are float32
            remat=False,  # recompute each layer in the backward pass: less memory, about a third more work
            remat_keep="nothing",  # what remat keeps of a layer: nothing | dots (results of matrix products: little recomputed, more memory)
            scan=False,  # one compiled layer for all: shorter compilation of deep models
            norm_pix_loss=False,  # targets normalised per patch: better features, but nothing to publish
            pixel_weight=1.0,  # of MSE over all patches, in units of −1…1
            irm_weight=2.0,  # of instance relation matching
            feature_weight=0.0,  # of 1 − e·ê
            unlink_weight=0.0,  # of relu(e·ê − unlink_margin): away from the own source
            unlink_margin=0.3,  # cosine
            shift_weight=0.0,  # of 1 − s(e)·ê: to where a fixed isometry s of the teacher's space puts the own source
            shift_share=0.5,  # of the variance of real embeddings that s turns round: 0 = nothing moves, 1 = to the far side of the mean
            relation_from=0.8,  # share of the steps trained with the pixel loss alone before the teacher joins
            keep_pixels=True,  # keep the state after that share (a checkpoint more on disk), for runs of other losses to go on from
            augment=augment(crop=1.0),
            optim=optim(epochs=200.0, warmup=0.05),
        )
    )
    c.irm = ConfigDict(
        dict(
            kind="cosine",  # cosine | euclidean
            group="0",  # images per relation graph: 0 = the whole batch; n = consecutive groups of n; device = batch / devices
            chunk=0,  # rows of a device taken at a time, to bound memory at large batches; 0 = all
            form="rows",  # rows (B×B, each device its own rows) | gram (D×D, no B×B block; cosine and group 0 only)
        )
    )
    c.reconstruct = ConfigDict(
        dict(
            subset="unseen",  # unseen | seen | all
            composition="full",  # full: every pixel is decoder output | paste: visible patches are real pixels
            people=1,  # whose visible patches make one face, in equal shares: 1 = its own person's; above, also of people whom the secret assigns
            release_id="release-1",  # another id: other masks, keys, labels and order
            encoding="jpeg",  # jpeg | png
            quality=95,  # of jpeg, 4:4:4
            batch=64,  # images per device and step, fixed: float results depend on it
            shard_records=10_000,  # records per shard
        )
    )
    c.distort = ConfigDict(
        dict(
            mask_ratio=0.75,  # share of grey patches of the variant `mask`; patch as in mae.patch
            blur=4.0,  # σ in pixels at 112, scaled with the image size
            pixelate=8,  # side of a block in pixels at 112, scaled
            noise=0.5,  # σ of additive Gaussian noise, in units of −1…1
            ksame=5,  # people averaged into one image
            dppix_epsilon=10.0,  # ε of differentially private pixels, for a whole image; blocks as in distort.pixelate
            dppix_m=16,  # pixels in which neighbouring images differ: what ε hides
        )
    )
    c.recognizer = ConfigDict(
        dict(
            faces="",  # a face set directory to train on instead of the variants; "" = the variants
            variants=("original", "mask", "blur", "reconstruction"),  # or noise …, blur@2, set:PATH (README)
            network="iresnet18",  # as teacher.network
            embedding=512,  # length
            dtype="float32",  # of the computation: float32 | bfloat16
            dropout=0.0,  # before the embedding layer
            margin=margin(),
            head=head(),
            augment=augment(),
            optim=optim(epochs=60.0, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, clip=5.0),
        )
    )
    c.verify = ConfigDict(
        dict(
            faces="synthetic",  # faces to verify on: "synthetic" (other people), a folder, a zip, a face set directory, a .bin; "" = do not verify
            pairs="generated",  # generated (of a .bin: its own) | path of a pairs.txt in the LFW format
            identities=100,  # of synthetic evaluation faces
            images=6,  # of each
            count=2000,  # generated pairs, half of them of one person
            folds=10,  # thresholds come from the other folds
            flip=True,  # embeddings of image and mirror image are summed
            batch=256,  # images embedded at once, over all devices
            groups="",  # CSV file identity,group of the faces to verify on: accuracy within each group; "" = none
            protocols=protocols(),
        )
    )
    c.audit = ConfigDict(
        dict(
            judges=("teacher", "recognizer:original"),  # or onnx:PATH checkpoint:PATH dlib, any VARIANT
            judge_input_range="unit",  # of onnx judges, as teacher.input_range
            judge_colour_order="rgb",  # of onnx judges: rgb | bgr
            variants=("original", "mask", "blur", "reconstruction"),  # as recognizer.variants
            attacks=("fusion", "copy", "linkage", "membership", "aware", "inversion"),  # of these, beside matching
            trained_on=("reconstruction",),  # of audit.variants: those on which aware and inversion train networks
            attack_images=2000,  # images of seen people, and of others, that aware, inversion and membership take
            attack_steps=400,  # of each attacker's training
            attack_batch=64,  # pairs per step, over all devices
            attack_learning_rate=2e-3,  # at its highest
            aware_start="auto",  # tune: the judge's own weights learn | adapt: a network behind it | auto: tune ours, adapt to others
            membership_masks=8,  # under which each image is painted
            max_queries=3000,  # protected images that search
            max_gallery=10_000,  # originals searched; holds the sources of all queries
            seed=0,  # which ones
            batch=256,  # images embedded at once, over all devices
        )
    )
    c.publish = ConfigDict(
        dict(
            name="facemae_faces",  # of the data set, as in tfds.load(name)
            version="1.0.0",  # of the data set
            formats=("array_record", "tfrecord"),  # tfrecord also serves tfds.load; twice the disk
            allow_real_pixels=False,  # needed to publish composition="paste"
            description="",  # one paragraph for the card; "" = a plain one
            budget=budget(),
            on_excess="refuse",  # over budget: refuse | resample (paint the worst images again) | drop (leave them out)
            resample_rounds=5,  # at most, before refusing after all
        )
    )
    c.report = ConfigDict(
        dict(
            show_originals=False,  # puts real faces into the page: never share such a page
            images=24,  # in the grid of reconstructions
        )
    )
    return c
